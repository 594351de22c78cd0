"""``monitor trace``: one request from its inputs over every prediction and its label to what was made of its window."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from monitor.command import ConfigOption, ExitCode, Format, JsonOption, configuration, console, plain, say, show
from monitor.installation import opened
from monitor.tracing import traced


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("trace")(trace)


def trace(
    request_id: Annotated[str, typer.Argument(help="Id of the request, as it was logged.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Look in the logs of one model only.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Follow one request: inputs, predictions, label, windows, alerts, advice; 2 where nobody logged it."""
    with opened(configuration(config)) as installation:
        watched = [installation.model(model)] if model is not None else list(installation.models.values())
        found = [one for each in watched if (one := traced(installation, each, request_id))]
    if as_json:
        print(json.dumps(found, default=plain, indent=2, ensure_ascii=False))
    if not found:
        names = ", ".join(each.name for each in watched) or "no model"
        say(f"No row with the id {request_id} is in the logs of {names}; look for another id, or log it.")
        return ExitCode.UNCLEAR
    if not as_json:
        for one in found:
            _print(one)
    return ExitCode.OK


def _print(one: Mapping[str, Any]) -> None:
    """Print what is known, from the inputs to the advice, and say what is missing."""
    model, predictions = one["model"], one["predictions"]
    rows = [
        {
            "role": each["role"],
            "version": each["version"],
            "occurred_at": each["occurred_at"],
            "logged_at": each["logged_at"],
            **each["answer"],
            "trace_id": each["trace_id"],
        }
        for each in predictions
    ]
    _table(rows, f"{model}: predictions of {one['request_id']}", "only a label was logged, no prediction")
    if predictions:
        features = predictions[0]["features"]
        _table([{"feature": name, "value": value} for name, value in features.items()], "inputs", "none was logged")
    _table(one["outcomes"], "outcomes, the newest first", "none is known yet")
    seen: set[tuple[str, Any]] = set()
    for each in predictions:
        if (each["role"], each["occurred_at"]) in seen:
            continue  # a repeated row fell into the same windows
        seen.add((each["role"], each["occurred_at"]))
        _table(_without(each["windows"], "run_id"), f"windows as {each['role']}", "none was judged")
        _table(each["findings"], "what was not fine in them", "nothing") if each["windows"] else None
        _table([{**row, "alert_key": row["alert_key"][:12]} for row in each["alerts"]], "alerts that stood", "none")
        _table(each["recommendations"], "advice that stood", "none")


def _without(rows: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def _table(rows: Sequence[Mapping[str, Any]], title: str, empty: str) -> None:
    if not rows:
        console().print(f"{title}: {empty}\n", markup=False)
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    show([{name: row.get(name) for name in names} for row in rows], title=title, form=Format.TABLE)
    console().print()
