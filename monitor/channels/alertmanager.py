"""Alertmanager: the notification as an alert of Prometheus' Alertmanager, API v2.

The labels ``alertname="drift-monitor"``, ``model``, ``role``, ``reason`` (alert, recommendation, digest, …),
``severity`` and ``thread`` (the episode) identify it; the text is in the annotations. Alertmanager ends whatever is not
sent again within minutes, so each alert says itself how long it lasts: until it is resolved, ``LASTS`` at most. A
severity that an episode has left is ended with the same call, because there it is another alert.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from monitor.check import Severity
from monitor.egress import classify, post, url_secrets
from monitor.message import compose, plain, text
from monitor.notification import Notification, Reason, Receipt, register

LASTS = timedelta(days=28)  # an alert that nobody ended
BRIEFLY = timedelta(hours=1)  # what tells of no state, such as a digest
OVER = frozenset({Reason.RESOLVED, Reason.SUPERSEDED})
MOMENTARY = frozenset({Reason.DIGEST, Reason.TEST, Reason.SILENCE})
OWN = frozenset({*MOMENTARY, Reason.RECOMMENDATION, Reason.CIRCUIT})  # reasons that are no stage of an alert's life
LONGEST = 4000


@register("alertmanager")
@dataclass(frozen=True, kw_only=True)
class AlertmanagerChannel:
    """Posts alerts to the Alertmanager at ``url``; ``allow_private`` lets its address be a private one."""

    url: SecretStr
    ca_file: Path | None = None
    allow_private: bool = False

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        url = self.url.get_secret_value().rstrip("/")
        answer = await post(
            f"{url}/api/v2/alerts",
            json.dumps(alerts_of(notification)).encode(),
            headers={"Content-Type": "application/json"},
            allow_private=self.allow_private,
            ca_file=self.ca_file,
            secrets=url_secrets(url),
        )
        if error := classify(answer, secrets=url_secrets(url)):
            raise error
        return Receipt(status=str(answer.status))


def alerts_of(told: Notification) -> list[dict[str, Any]]:
    """Return what Alertmanager is sent: the alert, and an end of the same alert in every other severity."""
    if told.reason in OVER:
        return [_alert(told, severity, told.created_at) for severity in Severity]
    end = told.created_at + (BRIEFLY if told.reason in MOMENTARY else LASTS)
    others = [] if told.reason in OWN else [severity for severity in Severity if severity is not told.severity]
    return [_alert(told, told.severity, end), *(_alert(told, severity, told.created_at) for severity in others)]


def _alert(told: Notification, severity: Severity, end: datetime) -> dict[str, Any]:
    begin = min(told.created_at, end) - timedelta(seconds=1)  # Alertmanager refuses an end that is no later
    labels: Mapping[str, str] = {
        "alertname": "drift-monitor",
        "model": told.model,
        "role": told.role,
        "reason": told.reason.value if told.reason in OWN else "alert",
        "severity": severity.value,
        "thread": told.thread_key,
    }
    annotations = {
        "summary": plain(told.title, LONGEST),
        "description": text(compose(told))[:LONGEST],
        "notification_id": str(told.id),
    }
    link = next((address for address in told.links.values() if address.startswith("http")), "")
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": annotations,
        "startsAt": begin.isoformat(),
        "endsAt": end.isoformat(),
        **({"generatorURL": link} if link else {}),
    }
