"""Silences: somebody asked, until a time and for a reason, not to be told of certain alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.alert import Alert
from monitor.check import Cause, Severity

LONGEST = timedelta(days=30)
"""A silence that nobody ends must not outlive the memory of why it was made."""
KEYS = ("model", "family", "subject", "severity", "cause", "check")
WORDS: Mapping[str, tuple[str, ...]] = {"severity": tuple(Severity), "cause": tuple(Cause)}
"""What keys with a fixed vocabulary may be."""


@dataclass(frozen=True, kw_only=True)
class Silence:
    """One silence in force.

    ``matchers`` name by key the values that are silenced: an alert is covered when every key fits, by any of its
    values.
    """

    matchers: Mapping[str, Sequence[str]]
    ends_at: datetime
    author: str
    reason: str

    def covers(self, alert: Alert) -> bool:
        """Return whether nobody is to hear of an alert.

        An alert on several subjects or of several checks is covered only when all of them are: a silence for one
        feature hides nothing about the others. A family such as ``quality`` stands for all that begin with it
        (``quality:weather``).
        """
        facts = alert.subjects
        traits: dict[str, set[str]] = {
            "model": {alert.model},
            "subject": {str(fact["subject"]) for fact in facts} or {alert.subject},
            "severity": {alert.severity.value},
            "cause": set() if alert.cause is None else {alert.cause.value},
            "check": {str(fact["check"]) for fact in facts if "check" in fact},
        }
        for key, values in self.matchers.items():
            if key == "family":
                if not any(alert.family == value or alert.family.startswith(f"{value}:") for value in values):
                    return False
            elif not (traits[key] and traits[key] <= set(values)):
                return False
        return True

    @property
    def sentence(self) -> str:
        """Return who silenced what until when and why, for the digest."""
        end = f"{self.ends_at.astimezone(UTC):%d %b %H:%M} UTC"
        return f"{wording(self.matchers)} until {end} by {self.author} ({self.reason})"

    def concerns(self, model: str) -> bool:
        """Return whether alerts of a model can be covered."""
        return model in self.matchers.get("model", (model,))


def silence_of(row: Mapping[Any, Any]) -> Silence:
    """Return a stored silence; a single value may stand for a list of one."""
    matchers = {
        str(key): (value,) if isinstance(value, str) else tuple(str(one) for one in value)
        for key, value in row["matchers"].items()
    }
    return Silence(matchers=matchers, ends_at=row["ends_at"], author=row["author"], reason=row["reason"])


def is_covered(silences: Iterable[Silence], alert: Alert) -> bool:
    """Return whether any silence covers an alert."""
    return any(silence.covers(alert) for silence in silences)


def wording(matchers: Mapping[str, Sequence[str]]) -> str:
    """Return matchers as a person writes them.

    >>> wording({"model": ["flights"], "severity": ["info", "warning"]})
    'model=flights severity=info severity=warning'
    """
    return " ".join(f"{key}={value}" for key, values in matchers.items() for value in values)


def read_matchers(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the matchers that ``key=value`` texts name; raises ValueError with what is wrong in one sentence.

    >>> read_matchers(["model=flights", "severity=info", "severity=warning"])
    {'model': ['flights'], 'severity': ['info', 'warning']}
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value:
            raise ValueError(f"--match {text!r} is no key=value; write for example --match family=score.")
        if key not in KEYS:
            raise ValueError(f"--match {text}: {key!r} is no key of an alert; it may be {', '.join(KEYS)}.")
        if value not in WORDS.get(key, (value,)):
            raise ValueError(f"--match {text}: {key} may be {', '.join(WORDS[key])}.")
        values = found.setdefault(key, [])
        if value not in values:
            values.append(value)
    if not found:
        raise ValueError("Say what to silence: at least one --match such as --match model=NAME.")
    return found


def check_end(starts_at: datetime, ends_at: datetime) -> None:
    """Raise ValueError unless a silence ends after it begins and soon enough."""
    if ends_at <= starts_at:
        raise ValueError(f"The silence would end at {ends_at:%Y-%m-%d %H:%M %Z}, which is over; give a later time.")
    if ends_at - starts_at > LONGEST:
        raise ValueError(f"A silence lasts at most {LONGEST.days} days; make it shorter and renew it when it ends.")
