"""What a replay came to, read from the SQL views that any user can read: history, alerts, recommendations, messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monitor.demo.causes import explanations
from monitor.demo.fault import FAULTS, LEAK_SENTENCE
from monitor.history import select_readonly
from monitor.installation import Installation

HISTORY = """\
SELECT to_char(window_start AT TIME ZONE 'America/New_York', 'YYYY-MM') AS month,
       count(DISTINCT window_start) AS windows,
       avg(value) FILTER (WHERE metric = 'auc') AS auc,
       avg(value) FILTER (WHERE metric = 'log_loss') AS log_loss,
       avg(value) FILTER (WHERE metric = 'brier') AS brier,
       avg(value) FILTER (WHERE metric = 'cost_per_prediction') AS cost_per_prediction,
       avg(value) FILTER (WHERE metric = 'regret_per_prediction') AS regret_per_prediction
FROM monitor.performance_history WHERE basis = 'realised' AND slice = '{}' GROUP BY 1 ORDER BY 1"""

ALERTS = """\
SELECT (opened_window_start AT TIME ZONE 'America/New_York')::date AS opened_with,
       (resolved_window_start AT TIME ZONE 'America/New_York')::date AS resolved_with,
       severity, family, cause, title, state
FROM monitor.alert WHERE opened_window_start IS NOT NULL AND severity <> 'info'
ORDER BY opened_window_start, alert_key"""

RECOMMENDATIONS = """\
SELECT opened_at::date AS opened, action, state, why, why_not, expected_benefit, expected_cost, currency
FROM monitor.recommendation_history ORDER BY opened_at"""

MESSAGES = """\
SELECT channel, reason, count(*) AS messages, count(*) FILTER (WHERE state = 'sent') AS sent
FROM monitor.notification_history GROUP BY 1, 2 ORDER BY 1, 2"""

RUNS = """\
SELECT state, count(*) AS runs, sum(rows_read) AS rows_read, sum(labels_joined) AS labels_joined,
       sum(seconds) AS seconds
FROM monitor.run_history WHERE model = 'flight-delay' GROUP BY 1 ORDER BY 1"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The answers, one list of rows each."""

    history: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    recommendations: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    runs: Sequence[Mapping[str, Any]]


def ask(installation: Installation, statement: str) -> list[dict[str, Any]]:
    """Return the rows of one SELECT."""
    with installation.engine.connect() as conn:
        answer = select_readonly(conn, statement)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def summarise(installation: Installation) -> Summary:
    """Return what is in the store now; each alert with the causes in the data that it may be about."""
    alerts = ask(installation, ALERTS)
    for alert in alerts:
        found = [cause.name for cause in explanations(alert["family"], alert["opened_with"])]
        leak = [LEAK_SENTENCE] if alert["family"].startswith("resource:") else []
        alert["in_the_data"] = "; ".join(found + leak)
    return Summary(
        history=ask(installation, HISTORY),
        alerts=alerts,
        recommendations=ask(installation, RECOMMENDATIONS),
        messages=ask(installation, MESSAGES),
        runs=ask(installation, RUNS),
    )


def show(summary: Summary, console: Console) -> None:
    """Print it."""
    _print(console, "History by month (means of daily windows)", summary.history)
    console.print("Alerts", style="bold")
    for alert in summary.alerts:
        over = f"over with {alert['resolved_with']:%d %b}" if alert["resolved_with"] else alert["state"]
        head = f"{alert['opened_with']:%d %b}  {alert['severity']}  {alert['family']} ({alert['cause']}), {over}"
        console.print(head, style="red" if alert["severity"] == "critical" else "yellow", markup=False, highlight=False)
        _paragraph(console, alert["title"])
        _paragraph(console, f"In the data: {alert['in_the_data'] or 'nothing that we know of'}.")
    console.print("\nRecommendations", style="bold")
    for one in summary.recommendations:
        console.print(f"{one['opened']:%d %b}  {one['action']}, {one['state']}", style="cyan", highlight=False)
        _paragraph(console, one["why"])
        _paragraph(console, one["why_not"] or "")
        if one["expected_benefit"] is not None:
            money = f"{one['currency']} {one['expected_benefit']:,.0f}"
            cost = f", for {one['currency']} {one['expected_cost']:,.0f}" if one["expected_cost"] else ""
            _paragraph(console, f"Expected benefit: {money}{cost}.")
    console.print()
    _print(console, "Messages", summary.messages)
    _print(console, "Runs", summary.runs)
    for fault in FAULTS:
        console.print(f"{fault.sentence}.", style="yellow")
    console.print(f"{LEAK_SENTENCE}.\n", style="yellow")


def _paragraph(console: Console, text: str) -> None:
    if text:
        console.print(Padding(Text(text), (0, 0, 0, 4)))


def _print(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        console.print(f"{title}: none.\n")
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        numeric = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)
    console.print()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
