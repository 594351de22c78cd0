"""What the history says: ``status``, ``history``, ``alerts``, ``recommendations``."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer

from monitor import approval, breaker, episode, history, silence
from monitor.breakdown import trouble
from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    Format,
    JsonOption,
    answer,
    configuration,
    moment,
    now,
    say,
    show,
    span,
)
from monitor.config import nearest
from monitor.duration import parse_duration
from monitor.installation import opened
from monitor.recommendation import RecommendationState

ACKNOWLEDGED_FOR = timedelta(hours=72)
SHORTEST_KEY = 4  # characters of an alert's key
LIGHT_CODES = {"green": ExitCode.OK, "yellow": ExitCode.WARNING, "red": ExitCode.WARNING, "grey": ExitCode.UNCLEAR}

alerts = typer.Typer(help="Alerts: list them, acknowledge or silence some.", invoke_without_command=True)
recommendations = typer.Typer(help="Recommendations: list them, approve or dismiss one.", invoke_without_command=True)

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="Most rows.")]


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command("status")(status)
    app.command("history")(history_of)
    app.add_typer(alerts, name="alerts")
    app.add_typer(recommendations, name="recommendations")


def _columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


def status(
    channels: Annotated[bool, typer.Option("--channels", help="How each channel is doing instead.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show each model's light; 0 all green, 1 something is wrong, 2 something could not be judged."""
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        rows = history.status(conn)
        states = breaker.channel_states(conn)
    if channels:
        show([asdict(state) for state in states], form=_form(as_json), empty="no channel has had a message yet")
        return ExitCode.WARNING if any(map(trouble, states)) else ExitCode.OK
    for state in states:
        if said := trouble(state):
            say(f"Channel {state.channel}: {said}")
    names = ("model", "light", "since", "worst_subject", "worst_effect", "last_window_end", "next_due_at")
    more = ("open_alerts", "open_recommendation", "reference_age")
    show(rows if as_json else _columns(rows, *names, *more), form=_form(as_json), empty="no model has run yet")
    codes = {LIGHT_CODES[row["light"]] for row in rows}
    return ExitCode.WARNING if ExitCode.WARNING in codes else max(codes, default=ExitCode.UNCLEAR)


def _form(as_json: bool) -> Format:
    return Format.JSON if as_json else Format.TABLE


def history_of(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    feature: Annotated[str | None, typer.Option("--feature", "-f", help="Drift of one feature instead.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="First window, a date or time.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Windows before this date or time.")] = None,
    limit: LimitOption = 30,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest windows of a model, or the drift of one feature."""
    first, last = span(since, until, "--since", "--until")
    bounds: dict[str, Any] = {"since": first, "until": last, "limit": limit}
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        installation.model(model)
        if feature is None:
            rows = history.rows_of(conn, "run_history", model=model, **bounds)
            names: tuple[str, ...] = ("window_start", "window_end", "revision", "state", "reason", "rows_read")
            names = (*names, "rows_duplicate", "rows_late", "labels_joined", "seconds")
        else:
            rows = history.rows_of(conn, "drift_metrics", model=model, column_name=feature, **bounds)
            if not rows:
                known = {row["column_name"] for row in history.rows_of(conn, "drift_metrics", model=model, limit=500)}
                if feature not in known:
                    near = nearest(feature, known)
                    hint = f"did you mean {near}?" if near else f"known are {', '.join(sorted(known)) or 'none yet'}."
                    raise CommandError(f"{model} has no feature {feature} in its history; {hint}")
            names = ("window_start", "n_current", "population_stability_index", "ks_statistic", "wasserstein_distance")
            names = (*names, "js_distance", "null_share_delta", "effect", "minimum_detectable", "verdict", "severity")
    show(rows if as_json else _columns(rows, *names), form=_form(as_json), empty="no window yet")


@alerts.callback()
def list_alerts(
    context: typer.Context,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Of one model.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved and pending ones too.")] = False,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open alerts, newest first."""
    if context.invoked_subcommand is not None:
        return
    wanted: dict[str, Any] = {} if everything else {"state": ["firing", "recovering"]}
    if model is not None:
        wanted["model"] = model
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        rows = history.rows_of(conn, "alert_history", limit=limit, **wanted)
        if model is not None and not rows:
            installation.model(model)  # nothing of a model that does not exist is no good news
    names = ("alert_key", "model", "severity", "state", "cause", "opened_window_start", "resolved_window_start")
    shown = _columns(rows, *names, "title", "acknowledged_by")
    for row in shown:
        row["alert_key"] = row["alert_key"][:12]
    show(rows if as_json else shown, form=_form(as_json), empty="no open alert")


@alerts.command("ack")
def acknowledge(
    key: Annotated[str, typer.Argument(help="Key of the alert, or its beginning.")],
    until: Annotated[str | None, typer.Option("--until", help="End, a date or time; default in 72 hours.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who; default the current user.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Take an open alert on: until a time it is neither repeated nor escalated, unless it gets worse."""
    at = now()
    end = moment(until, "--until") or at + ACKNOWLEDGED_FOR
    if not at < end <= at + silence.LONGEST:
        raise CommandError(
            f"--until {end:%Y-%m-%d %H:%M %Z} must lie ahead and within {silence.LONGEST.days} days; give another time."
        )
    if len(key) < SHORTEST_KEY:
        raise CommandError(f"{key!r} could be any alert; give at least {SHORTEST_KEY} characters of its key.")
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        try:
            alert = episode.find_alert(conn, key)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if alert is None:
            raise CommandError(f"No alert has a key that begins with {key}; `monitor alerts --all` lists them.")
        person = by or getpass.getuser()
        if not episode.acknowledge(conn, alert, by=person, at=at, until=end):
            raise CommandError(f"Alert {alert.key[:12]} is {alert.state}, so there is nothing to acknowledge.")
    say(f"{person} acknowledged {alert.title or alert.family} until {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")
    answer({"alert_key": alert.key, "episode": alert.episode, "by": person, "until": end}, wanted=as_json)


@alerts.command("silence")
def silence_alerts(
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            help="KEY=VALUE, several times: every key must fit, by any of its values. "
            "Keys: model, family, subject, severity, cause, check.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; mandatory.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="End, a date or time; this or --for.")] = None,
    lasting: Annotated[str | None, typer.Option("--for", help="How long, such as 2h; at most 30d.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who; default the current user.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Tell nobody of matching alerts until a time; they are judged, stored and shown all the same.

    What is still open at the end is told with its next window, and an hour before the end those who would have been
    told hear that it comes. Advice to retrain is no alert and is told meanwhile. The family pipeline:evaluation is that
    windows cannot be evaluated.
    """
    start = now()
    try:
        matchers = silence.read_matchers(match or [])
        end = _end(start, until, lasting)
        silence.check_end(start, end)
    except ValueError as error:
        raise CommandError(str(error)) from error
    person, why = (by or getpass.getuser()).strip(), (reason or "").strip()
    if not person or not why:
        raise CommandError("A silence says who made it and why; give --reason TEXT (and --by NAME).")
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        for name in matchers.get("model", []):
            installation.model(name)
        known = {check for model in installation.models.values() for check in model.checks}
        for name in matchers.get("check", []):
            if name not in known:
                raise CommandError(f"No model has a check {name}; known are {', '.join(sorted(known)) or 'none'}.")
        identity = episode.add_silence(conn, matchers=matchers, starts_at=start, ends_at=end, author=person, reason=why)
    if not as_json:
        print(identity)
    answer({"silence_id": identity, "by": person, "until": end, "matchers": matchers}, wanted=as_json)
    say(f"{person} silenced {silence.wording(matchers)} until {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")


def _end(start: datetime, until: str | None, lasting: str | None) -> datetime:
    """Return when a silence ends; raises ValueError unless exactly one of the options says so."""
    if (until is None) == (lasting is None):
        raise ValueError("Say when the silence ends, by one of --until TIME and --for DURATION.")
    if lasting is not None:
        try:
            return start + parse_duration(lasting)
        except ValueError as error:
            raise ValueError(f"--for {lasting} {error}.") from error
        except OverflowError as error:
            raise ValueError(f"A silence lasts at most {silence.LONGEST.days} days; {lasting} is more.") from error
    end = moment(until, "--until")
    assert end is not None
    return end


@alerts.command("unsilence")
def unsilence(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the silence.")],
    by: Annotated[str | None, typer.Option("--by", help="Who; default the current user.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """End a silence early; what it kept back and is still open is told with its next window."""
    listing = '`monitor query "SELECT * FROM silence_history"` lists them'
    try:
        chosen = UUID(identity)
    except ValueError as error:
        raise CommandError(f"{identity} is no id of a silence; {listing}.") from error
    person = by or getpass.getuser()
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        if not episode.end_silence(conn, chosen, by=person, at=now()):
            raise CommandError(f"No silence {identity} is in force; {listing}.")
    say(f"{person} ended the silence {identity}.")
    answer({"silence_id": chosen, "by": person}, wanted=as_json)


@recommendations.callback()
def list_recommendations(
    context: typer.Context,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Of one model.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Decided and superseded ones too.")] = False,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open recommendations, newest first."""
    if context.invoked_subcommand is not None:
        return
    wanted: dict[str, Any] = {} if everything else {"state": "open"}
    if model is not None:
        wanted["model"] = model
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        rows = history.rows_of(conn, "recommendation_history", limit=limit, **wanted)
        if model is not None and not rows:
            installation.model(model)
    names = ("recommendation_id", "model", "action", "state", "window_start", "why", "why_not")
    shown = _columns(rows, *names, "expected_benefit", "expected_cost", "currency")
    show(rows if as_json else shown, form=_form(as_json), empty="no open recommendation")


def _decide(identity: str, state: RecommendationState, by: str | None, config: Any, as_json: bool) -> None:
    try:
        chosen = UUID(identity)
    except ValueError as error:
        raise CommandError(f"{identity} is no recommendation id; `monitor recommendations` lists them.") from error
    person = by or getpass.getuser()
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        try:
            decided = approval.decide(conn, installation, chosen, state, by=person, at=now())
        except approval.DecisionError as error:
            raise CommandError(str(error)) from error
    say(f"{person} {state} {decided.advice.action} for {decided.advice.model}.")
    if decided.hook is not None:
        say(f"The daemon calls the webhook {decided.hook}; `monitor query` shows it in notification_history.")
    facts = {"recommendation_id": chosen, "model": decided.advice.model, "action": decided.advice.action.value}
    answer({**facts, "state": state.value, "by": person, "webhook": decided.hook}, wanted=as_json)


@recommendations.command("approve")
def approve(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the recommendation.")],
    by: Annotated[str | None, typer.Option("--by", help="Who; default the current user.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Approve a recommendation."""
    _decide(identity, RecommendationState.APPROVED, by, config, as_json)


@recommendations.command("dismiss")
def dismiss(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the recommendation.")],
    by: Annotated[str | None, typer.Option("--by", help="Who; default the current user.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> None:
    """Dismiss a recommendation."""
    _decide(identity, RecommendationState.DISMISSED, by, config, as_json)
