"""``monitor doctor`` and ``monitor redeliver``: what is wrong with an installation, and what did not go out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Annotated

import typer

from monitor import breaker, outbox, schema, store
from monitor.breakdown import trouble
from monitor.check import Severity
from monitor.clock import StoreClock
from monitor.command import (
    CommandError,
    ConfigOption,
    ExitCode,
    Format,
    JsonOption,
    answer,
    configuration,
    now,
    progress,
    say,
    show,
)
from monitor.commands.run import stale_references
from monitor.config import inactive_parts, remarks
from monitor.connections import faults_of_roles, roles_of
from monitor.duration import format_duration
from monitor.installation import Installation, opened
from monitor.notification import DeliveryError, Fact, Notification, Reason
from monitor.process import ProcessGoneError
from monitor.vitals import vitals_of

LATELY = timedelta(days=7)  # refusals of single recipients are listed for so long
APART = timedelta(minutes=1)  # between two clocks that are synchronised
TEST_DEADLINE = 30.0  # seconds for one test message


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command("doctor")(doctor)
    app.command("redeliver")(redeliver)


def doctor(
    send_test: Annotated[bool, typer.Option("--send-test", help="Send a test message to every channel.")] = False,
    roles: Annotated[
        bool, typer.Option("--roles", help="Only print the SQL that makes the roles for this configuration.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Look for what people get wrong and say how to mend it; 0 when nothing was found, 1 otherwise."""
    loaded = configuration(config)
    if roles:
        with opened(loaded, upgrade=False) as installation:
            print(roles_of(installation), end="")
            if installation.postgres is not None:
                say("The embedded store has one user, which nobody else can be; it needs no roles.")
        return ExitCode.OK
    for sentence in [*remarks(loaded), *inactive_parts(loaded)]:
        say(sentence)
    with opened(loaded) as installation:
        with progress("models") as bar:
            task = bar.add_task("looking", total=max(len(installation.models), 1))
            problems = list(_problems(installation, lambda: bar.advance(task)))
        if send_test:
            problems += asyncio.run(_test_channels(installation))
    for problem in [] if as_json else problems:
        print(problem)
    answer({"problems": problems}, wanted=as_json)
    if not problems:
        say(f"Nothing wrong found: store, {len(installation.models)} models, {len(installation.channels)} channels.")
    return ExitCode.WARNING if problems else ExitCode.OK


def _problems(installation: Installation, advance: Callable[[], object]) -> Iterator[str]:
    found = schema.current(installation.url)
    if found != schema.head():
        yield f"The store's schema is at {found or 'nothing'}, not at {schema.head()}; run `monitor db upgrade`."
        return
    yield from faults_of_roles(installation)
    yield from fault_of_clock(now(), StoreClock(installation.engine)())
    for name, watched in installation.models.items():
        for problem in installation.source(name).check():
            yield f"{name}: {problem}"
        yield from stale_references(installation, [name], at=now())
        with installation.engine.begin() as conn:
            if store.reference_id_at(conn, name, at=now()) is None:
                yield f"{name}: there is no training profile; run `monitor profile {name} --from FILE`."
        if watched.section.source.outcome is None:
            yield f"{name}: no source.outcome, so wrong predictions go unseen; name the table of outcomes."
        advance()
    for vitals in vitals_of(installation):
        try:
            vitals.sampler.sample(now())
        except ProcessGoneError as error:
            yield f"{vitals.watched.name}: {error}; check serving.process."
    with installation.engine.begin() as conn:
        states = breaker.channel_states(conn)
        refusals = dict(reversed(outbox.refusals(conn, since=now() - LATELY)))  # the newest of each channel
    for state in states:
        if said := trouble(state):
            more = " See them with `monitor redeliver --list`." if state.dead else ""
            yield f"channels.{state.channel}: {said}{more}"
        if state.waiting and state.channel not in installation.carriers:
            yield (
                f"channels.{state.channel}: {state.waiting} messages wait for it, but it is not configured any more; "
                "configure it until they are sent."
            )
    for channel, remark in refusals.items():
        yield f"channels.{channel}: a message of the last week was {remark}."


def fault_of_clock(here: datetime, there: datetime) -> Iterator[str]:
    """Yield that the clock of this machine is not that of the store.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    >>> list(fault_of_clock(noon, noon + timedelta(seconds=30)))
    []
    >>> next(fault_of_clock(noon, noon + timedelta(hours=2)))[:56]
    "This machine's clock is 2h behind the store's, by which "
    """
    apart = timedelta(seconds=round((here - there).total_seconds()))
    if abs(apart) > APART:
        side = "ahead of" if apart > timedelta(0) else "behind"
        yield (
            f"This machine's clock is {format_duration(abs(apart))} {side} the store's, by which windows close; "
            "synchronise both, with chrony or systemd-timesyncd."
        )


async def _test_channels(installation: Installation) -> list[str]:
    problems = []
    for name, channel in installation.channels.items():
        message = trial_message(now())
        try:
            async with asyncio.timeout(TEST_DEADLINE):
                await channel.send(message, thread_reference="", picture=None)
            say(f"{name}: the test message {message.id} was accepted.")
        except DeliveryError as error:
            problems.append(f"channels.{name}: {error}")
        except TimeoutError:
            problems.append(f"channels.{name}: no answer within {TEST_DEADLINE:.0f} s; check its address.")
    return problems


def trial_message(at: datetime) -> Notification:
    """Return the message by which a person sees that a channel works."""
    identity = uuid.uuid4()
    return Notification(
        id=identity,
        model="test",
        reason=Reason.TEST,
        severity=Severity.INFO,
        title="Test message of drift-monitor",
        summary="If you read this, alerts will reach you here. Nothing is wrong.",
        created_at=at,
        thread_key=f"test-{identity}",
        group_key="test",
        facts=(Fact(subject="channel", text="works"),),
    )


def redeliver(
    only_list: Annotated[bool, typer.Option("--list", help="Only list what was given up.")] = False,
    ids: Annotated[list[uuid.UUID] | None, typer.Option("--id", help="Only this delivery; may be repeated.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Put messages that were given up back into the outbox; the daemon sends them."""
    with opened(configuration(config)) as installation, installation.engine.begin() as conn:
        if only_list:
            letters = outbox.dead_letters(conn)
            rows = [
                {
                    "delivery_id": str(letter.delivery_id),
                    "channel": letter.channel,
                    "model": letter.model,
                    "created_at": letter.created_at,
                    "subject": letter.subject_line,
                    "attempts": letter.attempts,
                    "last_error": letter.last_error,
                }
                for letter in letters
            ]
            show(rows, form=Format.JSON if as_json else Format.TABLE, empty="no message was given up")
            return ExitCode.OK
        count = outbox.redeliver(conn, ids)
        if ids and count < len(set(ids)):
            raise CommandError(
                f"{len(set(ids)) - count} of {len(set(ids))} ids are no message that was given up, so nothing was "
                "changed; see them with `monitor redeliver --list`."
            )
    say(f"{count} messages will be sent again by the running daemon.")
    return ExitCode.OK
