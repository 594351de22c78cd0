"""Interventions: a model is taken out of service, tried, or answers again, and whoever is concerned hears of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from monitor import outbox, switchboard
from monitor.alert import Alert
from monitor.announcement import channels_for, complete
from monitor.check import Severity
from monitor.circuit import Circuit, CircuitState, moved_by_alerts
from monitor.installation import Installation, Monitored
from monitor.notification import Fact, Notification, Reason

TITLES = {
    CircuitState.OPEN: "the model is out of service",
    CircuitState.HALF_OPEN: "the model is tried on a share of the requests",
    CircuitState.CLOSED: "the model answers again",
}
DEEDS = {CircuitState.OPEN: "opened", CircuitState.HALF_OPEN: "half opened", CircuitState.CLOSED: "closed"}


def intervene(
    conn: sa.Connection,
    installation: Installation,
    watched: Monitored,
    *,
    before: Sequence[Alert],
    changed: Sequence[Alert],
    now: datetime,
) -> Circuit | None:
    """Open or close the circuit of a model as its alerts say, where that is allowed; returns it if it changed.

    The caller holds the model's alerts (``episode.hold``), so the change is one transaction with its causes.
    """
    section = watched.section.circuit
    if section is None or not section.automatic or not changed:
        return None
    episodes = {(alert.key, alert.episode): alert for alert in (*before, *changed)}
    circuit = moved_by_alerts(
        switchboard.hold_circuit(conn, watched.name),
        before,
        list(episodes.values()),
        open_on=section.open_on,
        fallback=section.fallback,
        now=now,
        until=now + watched.spec.pace,
    )
    if circuit is not None:
        change_circuit(conn, installation, watched, circuit, now=now)
    return circuit


def change_circuit(
    conn: sa.Connection, installation: Installation, watched: Monitored, circuit: Circuit, *, now: datetime
) -> None:
    """Store a changed circuit and put the message about it into the outbox, in the caller's transaction."""
    thread = switchboard.first_event(conn, watched.name)
    switchboard.save_circuit(conn, circuit)
    if thread is None:  # it was closed: this change begins a conversation of its own
        thread = switchboard.first_event(conn, watched.name)
    told = complete(installation, circuit_message(circuit, watched, thread=thread, now=now))
    channels = channels_for(installation, told, ())
    for held in dict.fromkeys(channels.values()) or [None]:
        outbox.put(conn, told, [name for name, until in channels.items() if until == held], not_before=held)


def circuit_message(circuit: Circuit, watched: Monitored, *, thread: int | None, now: datetime) -> Notification:
    """Return what people are told of a changed circuit: who did it and why, what is answered now, what that costs."""
    is_closed = circuit.state is CircuitState.CLOSED
    answer = "; ".join(f"{name} = {value}" for name, value in (circuit.fallback or {}).items())
    return Notification(
        id=uuid.uuid4(),
        model=circuit.model,
        reason=Reason.CIRCUIT,
        severity=Severity.CRITICAL if circuit.state is CircuitState.OPEN else Severity.WARNING,
        title=TITLES[circuit.state],
        summary=f"{circuit.actor} {DEEDS[circuit.state]} the circuit: {(circuit.reason or '').rstrip('.')}. "
        f"{circuit.sentence}",
        created_at=now,
        thread_key=f"circuit-{circuit.model}-{thread}",
        group_key=f"{circuit.model}:champion:circuit",
        in_thread=is_closed,
        facts=() if is_closed else (Fact(subject="fallback", text=answer or "the one that each service has"),),
        cost="" if is_closed else fallback_cost(watched),
        next_step="" if is_closed else f"When it is repaired: monitor circuit close {circuit.model} --reason …",
    )


def fallback_cost(watched: Monitored) -> str:
    """Return what each answer of the fallback costs, in words; nothing where nobody has configured it."""
    costs = watched.costs
    if costs is None or costs.fallback is None:
        return ""
    return f"{costs.currency} {costs.fallback:,.2f} for each answer of the fallback"
