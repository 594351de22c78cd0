"""evaluate(): one model, one window, one transaction."""

from __future__ import annotations

import hashlib
import math
import time as clock
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor import episode, ledger, record, store
from monitor.aftermath import follow
from monitor.alert import Alert, AlertRules
from monitor.announcement import announce
from monitor.check import Evidence, Performance, Stage, run_checks
from monitor.decision import Decision, Rules, State, decide
from monitor.disclosure import Disclosure
from monitor.examination import examine
from monitor.failpoint import Failpoint, reach
from monitor.installation import CODE_VERSION, Installation, Monitored
from monitor.intervention import intervene
from monitor.ledger import Run
from monitor.movement import MEMORY, Past
from monitor.outcome import OutcomeProfile
from monitor.proof import Proof, ProofRequest
from monitor.reading import LATE, Rows, read_in_parts, read_rows, stored
from monitor.recommendation import RecommendationState
from monitor.reference import Reference
from monitor.release import advise as advise_release
from monitor.silence import silence_of
from monitor.window import Window, WindowSpec

CHAMPION = "champion"
SCHEDULED = "scheduled"
MEMORIES = 30  # windows whose memories are kept at least, so that a person can have one judged again
EPISODES = 120  # windows back in which checks may know of past alerts


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What came of one run: the decision, and how many rows were read for it."""

    decision: Decision
    rows: int
    transferred: int = 0
    """Rows that came from the logs for it; the others were in stored tiles."""
    alerts: Sequence[Alert] = ()
    """The alerts as they stood before."""


def evaluate(
    installation: Installation, watched: Monitored, run: Run, *, now: datetime, quiet: bool = False
) -> Evaluated:
    """Read, judge and store one claimed run; returns what was decided.

    Everything that follows from the window is committed in one transaction together with the run's end; with ``quiet``
    nobody is told. Raises SourceError when the logs cannot be read and LeaseLost when another process took the run
    over; then nothing is stored.
    """
    began = clock.perf_counter()
    stage = Stage(run.part)
    with installation.engine.begin() as conn:
        reference = current_reference(conn, installation, watched, at=run.window.start)
    if reference is not None and not fits(reference, watched):
        reference = None  # how days vary says nothing about hours: what cannot be judged is called so
    read = read_in_parts if run.is_too_large and reference is not None else read_rows
    rows = read(installation, watched, reference, run, stage, now=now)
    reach(Failpoint.READ)
    with installation.engine.begin() as conn:
        evidence = gather(conn, watched, reference, rows, run, stage)
        state = load_state(conn, watched, run.window, now=now)
        newest = ledger.last_window(conn, watched.name, CHAMPION, run.part, states=["done"])
        forward = newest is None or newest.start < run.window.start
        later = None if forward or run.kind != LATE else later_windows(conn, watched, run, evidence)
    if forward and run.kind == SCHEDULED and not quiet:
        evidence = replace(evidence, examined=examine(installation, watched, evidence, now=now))
    judgements = dict(run_checks(watched.checks, evidence))

    def conclude(state: State) -> Decision:
        decision = decide(
            evidence,
            watched.checks,
            state,
            rules_of(installation, watched, quiet=quiet),
            now=now,
            new_id=uuid.uuid4,
            model_version="" if reference is None else reference.version,
            history=history_of(installation, watched, reference),
            prove=prove,
            judgements=judgements,
            later=later,
        )
        return decision if forward or later is not None else without_alerts(decision)

    prove = prover(installation, watched, reference, now=now)
    decision = conclude(state)
    reach(Failpoint.COMPUTED)
    run = replace(
        run,
        reference_id=None if reference is None else reference.id,
        model_version=None if reference is None else reference.version,
        config_hash=watched.config_hash,
        code_version=CODE_VERSION,
    )
    with installation.engine.begin() as conn:
        # Another stage, a process sample or a person may have changed the alerts since they were read. They are held
        # from here to the commit; the checks and what was proven stand, so deciding anew takes no time.
        episode.hold(conn, watched.name, CHAMPION)
        current = load_state(conn, watched, run.window, now=now)
        if current != state:
            decision = conclude(current)
        seconds = clock.perf_counter() - began
        save(conn, watched, run, rows, decision, evidence.disclosure, now=now, seconds=seconds)
        if not quiet:
            announce(conn, installation, decision, revision=run.revision)
            intervene(conn, installation, watched, before=current.alerts, changed=decision.alerts, now=now)
            if stage is Stage.OUTCOMES:
                follow(conn, installation, watched, now=now)
            advise_release(conn, installation, watched, evidence.examined.get("comparison"), now=now)
        reach(Failpoint.SAVING)
    reach(Failpoint.COMMITTED)
    return Evaluated(decision=decision, rows=rows.reading.rows, transferred=rows.transferred, alerts=state.alerts)


def without_alerts(decision: Decision) -> Decision:
    """Return the decision on an earlier window that somebody had judged again: it corrects the history.

    Alerts go forward in time, and it is no second bad window; what is remembered of them stays what it was.
    """
    memories = {name: memory for name, memory in decision.memories.items() if name != MEMORY}
    return replace(decision, memories=memories, alerts=(), transitions=(), notifications=(), recommendations=())


def later_windows(conn: sa.Connection, watched: Monitored, run: Run, evidence: Evidence) -> list[Past] | None:
    """Return the windows after one that late rows changed, through which its alerts are to be moved anew.

    None means that it is too long ago: what was remembered before it is forgotten.
    """
    kept = remembered(watched)
    found = record.findings_after(conn, run, most=kept - 1)
    if found is None or (MEMORY not in evidence.memories and evidence.memories):
        return None
    return [Past(window=one.window, findings=one.findings, reference=one.reference_id or "") for one in found]


def remembered(watched: Monitored) -> int:
    """Return how many windows are remembered: all that late rows may still change, and some."""
    late = -(-watched.section.lateness // watched.spec.pace)
    return max(MEMORIES, late + 2)


def current_reference(
    conn: sa.Connection, installation: Installation, watched: Monitored, *, at: datetime
) -> Reference | None:
    """Return the training profile in force at a time; None when the model has none yet."""
    found = store.reference_id_at(conn, watched.name, at=at)
    if found is None:
        return None
    return installation.reference(found, conn)


def fits(reference: Reference, watched: Monitored) -> bool:
    """Return whether a training profile was cut into the windows that are configured; the step may differ."""

    def cut(spec: WindowSpec) -> tuple[object, ...]:
        return (spec.calendar, spec.width, spec.timezone if spec.calendar else None)

    return cut(reference.spec) == cut(watched.spec)


def gather(
    conn: sa.Connection, watched: Monitored, reference: Reference | None, rows: Rows, run: Run, stage: Stage
) -> Evidence:
    """Return everything that checks may look at."""
    since = run.window.start - EPISODES * watched.spec.pace
    past = [alert.as_episode() for alert in episode.load_episodes(conn, watched.name, CHAMPION, since=since)]
    return Evidence(
        model=watched.name,
        stage=stage,
        window=run.window,
        spec=watched.spec,
        budget=watched.budget,
        costs=watched.costs,
        upstreams=watched.section.source.upstreams,
        maybe_reference=reference,
        maybe_current=rows.current,
        maybe_outcome=rows.outcome,
        reading=rows.reading,
        memories=store.load_memories(
            conn, model=watched.name, role=CHAMPION, part=stage.value, before=run.window.start
        ),
        episodes=[one for one in past if one is not None],
        has_outcomes=watched.section.source.outcome is not None,
        listed_values=watched.section.source.listed_values,
        holidays=holidays_of(watched, reference, run.window),
    )


def holidays_of(watched: Monitored, reference: Reference | None, window: Window) -> frozenset[str]:
    """Return the holidays of all years from the first window of training to this one."""
    if reference is None or not watched.section.holidays:
        return frozenset()
    since = reference.windows[0].start if reference.timeline else window.start
    return watched.section.holiday_dates(min(since, window.start), window.end)


def load_state(conn: sa.Connection, watched: Monitored, window: Window, *, now: datetime) -> State:
    """Return the alerts and recommendations of a model as they stand, and the silences in force."""
    return State(
        alerts=tuple(episode.load_alerts(conn, watched.name, CHAMPION).values()),
        recommendations=tuple(
            episode.recent_recommendations(conn, watched.name, since=window.start - 28 * watched.spec.pace)
        ),
        silences=tuple(silence_of(row) for row in episode.active_silences(conn, at=now)),
    )


def rules_of(installation: Installation, watched: Monitored, *, quiet: bool = False) -> Rules:
    """Return what the configuration says about alerts and advice."""
    alerts = installation.config.alerts
    return Rules(
        alerts=AlertRules(k=alerts.k, n=alerts.n, recover=alerts.recover, repeat=dict(alerts.repeat), quiet=quiet),
        retraining_cost=watched.section.retraining.cost,
        max_age=watched.section.retraining.max_age,
        matures_after=None if watched.section.source.outcome is None else watched.section.source.outcome.matures_after,
        config=hashlib.sha256(f"{watched.config_hash} {alerts.k} {alerts.n} {alerts.recover}".encode()).hexdigest()[
            :16
        ],
    )


def history_of(
    installation: Installation, watched: Monitored, reference: Reference | None
) -> Callable[[datetime, datetime], Sequence[tuple[Window, OutcomeProfile]]]:
    """Return a function that gives the stored matured outcomes of windows in a span of time."""

    def history(since: datetime, until: datetime) -> Sequence[tuple[Window, OutcomeProfile]]:
        if reference is None or reference.outcome_layout is None:
            return []
        layout = reference.outcome_layout
        with installation.engine.begin() as conn:
            tiles = store.load_tiles(
                conn,
                model=watched.name,
                role=CHAMPION,
                part=Stage.OUTCOMES.value,
                reference_id=reference.id,
                start=since,
                end=until,
            )
        grouped: dict[Window, list[OutcomeProfile]] = {}
        plain = watched.spec
        for tile in tiles:
            if not tile.rows:
                continue
            window = plain.containing(tile.start)
            if tile.end > window.end:
                continue  # of long ago: it holds several windows, and none of them alone
            grouped.setdefault(window, []).append(OutcomeProfile.from_bytes(layout, tile.body))
        return [(window, OutcomeProfile.total(layout, parts)) for window, parts in sorted(grouped.items())]

    return history


def prover(
    installation: Installation, watched: Monitored, reference: Reference | None, *, now: datetime
) -> Callable[[ProofRequest], Proof]:
    """Return a function that tries challengers on logged rows, in a process of its own, and the same only once."""
    known: list[tuple[ProofRequest, Proof]] = []

    def prove(request: ProofRequest) -> Proof:
        from monitor.challenger import prove_challengers

        if reference is None:
            return Proof(reason="there is no training profile")
        for asked, proof in known:
            if asked == request:
                return proof
        known.append((request, prove_challengers(request, installation.source(watched.name), reference, now=now)))
        return known[-1][1]

    return prove


def save(
    conn: sa.Connection,
    watched: Monitored,
    run: Run,
    rows: Rows,
    decision: Decision,
    disclosure: Disclosure,
    *,
    now: datetime,
    seconds: float,
) -> None:
    """Write everything that follows from a run; the caller's transaction makes it all or nothing."""
    assert run.token is not None
    ledger.ensure_owner(conn, run.run_id, run.token)
    findings = [finding for judgement in decision.judgements.values() for finding in judgement.findings]
    store.save_tiles(conn, [stored(tile) for tile in rows.tiles])
    record.save_findings(conn, run, findings, evaluated_at=now)
    columns = [column for judgement in decision.judgements.values() for column in judgement.columns]
    record.save_column_statistics(conn, run, columns)
    if rows.current is not None:
        record.save_column_profiles(conn, run, rows.current, disclosure)
    performance = [metric for judgement in decision.judgements.values() for metric in judgement.performance]
    save_performance(conn, watched, run, rows.outcome, performance)
    store.save_memories(conn, run, decision.memories, keep=remembered(watched))
    store.correct_memories(conn, run, MEMORY, decision.corrected)
    episode.save_alerts(conn, decision.alerts, at=now)
    episode.add_alert_events(conn, decision.transitions, at=now, window_start=run.window.start, revision=run.revision)
    for advice in sorted(decision.recommendations, key=lambda one: one.state is RecommendationState.OPEN):
        episode.save_recommendation(conn, advice, run=run)
    ledger.finish(
        conn,
        run.run_id,
        run.token,
        rows_read=rows.reading.rows,
        rows_duplicate=rows.reading.duplicates,
        rows_late=rows.reading.late,
        rows_clock_skewed=rows.reading.clock_skewed,
        rows_transferred=rows.transferred,
        reread_rows=rows.again,
        rows_repeated=rows.reading.repeats,
        rows_beyond_horizon=rows.reading.beyond_horizon,
        labels_joined=rows.reading.labels,
        seconds=seconds,
        read_seconds=rows.reading.seconds,
        reference_id=run.reference_id,
        config_hash=run.config_hash,
        code_version=run.code_version,
        model_version=run.model_version,
    )


def save_performance(
    conn: sa.Connection,
    watched: Monitored,
    run: Run,
    outcome: OutcomeProfile | None,
    metrics: Sequence[Performance],
) -> None:
    """Write a window's performance by slice, with what the labels of its rows were like where there are any."""
    slices: dict[tuple[tuple[str, str], ...], list[Performance]] = {}
    for metric in metrics:
        slices.setdefault(tuple(metric.slice.items()), []).append(metric)
    for key, of_slice in slices.items():
        rows = outcome
        if key and outcome is not None:
            group = outcome.group(dict(key))
            rows = None if group is None else group.outcome
        delay = math.nan if rows is None else rows.delay(0.5)
        record.save_performance(
            conn,
            run,
            of_slice,
            label_coverage=rows.coverage if rows is not None and rows.rows else None,
            label_delay_p50=None if math.isnan(delay) else timedelta(seconds=delay),
            matured=None if rows is None else rows.labelled,
            cost_per_prediction=next((m.value for m in of_slice if m.metric == "cost_per_prediction"), None),
            fallback_cost_per_prediction=None if watched.costs is None else watched.costs.fallback,
            currency=watched.currency,
        )
