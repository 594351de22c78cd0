"""Apprise: the message as plain text to any service that Apprise knows, such as PagerDuty, Opsgenie or Teams.

Needs the extra ``apprise``. Apprise makes the request itself: ``security.allow_private_addresses`` says nothing about
where it leads, redirects are not followed, and what went wrong is known as far as Apprise says it.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from monitor.check import Severity
from monitor.egress import TEMPORARY, redact, url_secrets
from monitor.message import compose, text
from monitor.notification import DeliveryError, Notification, Reason, Receipt, register

if TYPE_CHECKING:
    from apprise import Apprise

LONGEST = 4000  # characters; services cut or refuse longer ones
STATUS = re.compile(r"error=(\d{3})\b")
KINDS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
OVER = frozenset({Reason.RESOLVED, Reason.SUPERSEDED, Reason.APPROVED})
#: An invisible character keeps names from calling people where a service knows mentions (@everyone, <!channel>).
TAME = str.maketrans({"@": "@\u2060", "<": "<\u2060"})

# It writes addresses, and so their secrets, to the log; what it says of a failure is taken from its result instead.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False
logging.getLogger("urllib3").setLevel(logging.WARNING)  # below it are addresses, too


@register("apprise")
@dataclass(frozen=True, kw_only=True)
class AppriseChannel:
    """Sends to the service at ``url``, an address as Apprise writes it."""

    url: SecretStr

    def __post_init__(self) -> None:
        _service(self.url.get_secret_value())

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        url = self.url.get_secret_value()
        message = compose(notification)
        kind = "success" if notification.reason in OVER else KINDS[notification.severity]
        body = text(message).translate(TAME)
        # Apprise answers in its own time; asking in a thread keeps others from waiting for its plug-ins to load.
        result = await asyncio.to_thread(
            _service(url).notify,
            title=message.subject.translate(TAME),
            body=body if len(body) <= LONGEST else body[: LONGEST - 1] + "…",
            notify_type=kind,
            body_format="text",
        )
        if not result:
            raise _failure(result, [url, *url_secrets(url)])
        return Receipt(status="taken")


def _service(url: str) -> Apprise:
    """Return Apprise with one service; raises ValueError with a sentence that has no secret in it."""
    try:
        from apprise import Apprise
    except ModuleNotFoundError:
        raise ValueError("needs the extra apprise; install it with pip install 'drift-monitor[apprise]'") from None
    service = Apprise.instantiate(url)
    if service is None:
        raise ValueError("url is no address of a service that Apprise knows; see its list of services")
    service.redirects = False
    found = Apprise()
    found.add(service)
    return found


def _failure(result: Any, secrets: list[str]) -> DeliveryError:
    said = " ".join(entry.message for one in result.results for entry in one.logs() if entry.level != "DEBUG")
    found = STATUS.search(said)
    status = int(found[1]) if found else None
    permanent = status is not None and 400 <= status < 500 and status not in TEMPORARY
    shown = " ".join(redact(said, secrets).split())[:300] or "without a reason"
    return DeliveryError(f"Apprise could not deliver it: {shown}", permanent=permanent, status=status)
