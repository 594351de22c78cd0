"""Notifications: what people are told, and the protocol of whoever carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from pydantic import TypeAdapter

from monitor.check import Severity
from monitor.registry import Registry


class Reason(StrEnum):
    """Why people are told now."""

    FIRST = "first"
    REOPENED = "reopened"
    ESCALATED = "escalated"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    FLAPPING = "flapping"
    UNANSWERED = "unanswered"
    """Nobody has acknowledged it for some time, so more people hear of it."""
    SUPERSEDED = "superseded"
    """It is over because what it was judged with is."""
    SILENCE = "silence"
    """A silence ends soon."""
    CIRCUIT = "circuit"
    """A model was taken out of service, is tried, or answers again."""
    RECOMMENDATION = "recommendation"
    APPROVED = "approved"
    """A person approved a recommendation: the call to whoever carries it out."""
    DIGEST = "digest"
    TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of figures in a message: a subject with its size, threshold and sample count, already in words."""

    subject: str
    text: str
    statistic: str = ""
    value: float | None = None
    threshold: float | None = None
    effect: float | None = None
    n_current: int | None = None


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One message about one model and window; the id is in every message and is the idempotency key.

    ``thread_key`` names the conversation it belongs to; ``in_thread`` messages (resolved, reopened) are replies there.
    ``chart`` holds series for a small picture, see ``charts.py``: ``{"title", "x": [labels], "lines": {name: [values]},
    "bands": {name: [[lows], [highs]]}, "threshold": float}``. All texts are plain; channels escape them.
    """

    id: UUID
    model: str
    reason: Reason
    severity: Severity
    title: str
    summary: str
    created_at: datetime
    thread_key: str
    group_key: str
    in_thread: bool = False
    window_start: datetime | None = None
    window_end: datetime | None = None
    window_label: str = ""
    facts: Sequence[Fact] = ()
    more_facts: int = 0
    cost: str = ""
    next_step: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    alert_keys: Sequence[str] = ()
    families: Sequence[str] = ()
    """Of the alerts, the most important one first; each has a section in the runbook."""
    chart: Mapping[str, Any] | None = None
    role: str = "champion"
    model_version: str = ""
    note: str = ""
    """What people should know about this time, from the configuration's annotations."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON values for programs; people are not shown them."""
    possible_duplicate: bool = False
    """An earlier try may have arrived: the footer says so. The dispatcher sets it, nobody else."""
    recipients: Mapping[str, str] = field(default_factory=dict)
    """Of a channel with several: who has it already, as "", and who was refused for good, and why. The dispatcher sets
    it; it is in no message."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a channel got back: the provider's reference (Slack ts, Message-ID), for threads.

    ``recipients`` are those that this try settled, as in ``Notification``.
    """

    reference: str = ""
    status: str = ""
    recipients: Mapping[str, str] = field(default_factory=dict)


class DeliveryError(Exception):
    """A message could not be delivered; ``permanent`` ones are not tried again.

    ``retry_after`` is seconds the peer asked to wait; ``ambiguous`` means that it may have arrived all the same;
    ``status`` is the code of HTTP or SMTP that the peer answered with, ``recipients`` are those that need not be tried
    again, as in ``Notification``.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        ambiguous: bool = False,
        status: int | None = None,
        recipients: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after
        self.ambiguous = ambiguous
        self.status = status
        self.recipients = dict(recipients or {})


class Channel(Protocol):
    """A way to people. Dataclass fields are its options in the configuration."""

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        """Deliver one message or raise DeliveryError; the caller sets the total deadline.

        ``thread_reference`` is the receipt's reference of the thread's first message on this channel, or "".
        """
        ...


channels: Registry[Channel] = Registry("monitor.channels")
register = channels.register

_json = TypeAdapter(Notification)


def hook_name(model: str, what: str) -> str:
    """Return the name in the outbox of the webhook that carries out what was approved; no channel can have it.

    >>> hook_name("credit", "retraining"), is_hook("credit:retraining"), is_hook("ops")
    ('credit:retraining', True, False)
    """
    return f"{model}:{what}"


def is_hook(channel: str) -> bool:
    """Return whether a name in the outbox is such a webhook, which no other message may go to."""
    return ":" in channel


def to_json(notification: Notification) -> dict[str, Any]:
    """Return a notification as JSON values, which the outbox stores: times in ISO 8601, not finite numbers as None.

    >>> from datetime import UTC
    >>> told = Notification(id=UUID(int=7), model="m", reason=Reason.FIRST, severity=Severity.WARNING, title="t",
    ...     summary="s", created_at=datetime(2013, 4, 23, tzinfo=UTC), thread_key="k", group_key="g")
    >>> to_json(told)["created_at"]
    '2013-04-23T00:00:00Z'
    >>> from_json(to_json(told)) == told
    True
    """
    written: dict[str, Any] = _json.dump_python(notification, mode="json", exclude={"recipients"})
    return written


def from_json(data: Mapping[str, Any]) -> Notification:
    """Return the notification written by ``to_json``; newer keys are left out, missing ones get defaults."""
    read = _json.validate_python(dict(data))
    return replace(read, facts=tuple(read.facts), alert_keys=tuple(read.alert_keys), families=tuple(read.families))
