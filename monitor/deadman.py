"""The dead-man's switch: a sign of life to an address outside, which raises the alarm when the signs stop.

A sign is sent after a proof from the store, never from a bare timer: no run is overdue, no message has waited too
long. Where the store is away, or work stands still in any replica, nothing is sent, and the outside speaks.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor import ledger, outbox
from monitor.egress import classify, post, url_secrets
from monitor.failure import reason
from monitor.installation import Installation
from monitor.notification import DeliveryError

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=1)
DEADLINE = 10.0  # seconds for one sign
OVERDUE = timedelta(minutes=15)  # a run that is due for longer, or a message that waits for longer, is a standstill


@dataclass(frozen=True, kw_only=True)
class Deadman:
    """Sends signs of life for one installation; ``overdue`` is how long due work may stand still."""

    installation: Installation
    overdue: timedelta = OVERDUE

    def sign(self, now: datetime) -> str:
        """Send a sign if work goes on; returns why none was sent, or "" when it was. Never raises for the network."""
        address = self.installation.config.deadman.url
        if address is None:
            return "no deadman.url is configured"
        trouble = self.standstill(now)
        if not trouble:
            try:
                asyncio.run(self._send(address.get_secret_value()))
            except DeliveryError as error:
                trouble = f"the dead-man's address was not reached: {error}"
            except TimeoutError:
                trouble = f"the dead-man's address did not answer within {DEADLINE:.0f} s"
        if trouble:
            log.warning("no sign of life was sent: %s", trouble)
        return trouble

    def standstill(self, now: datetime) -> str:
        """Return what stands still, in one sentence, or ""; the answer of the store is itself a part of the proof."""
        try:
            with self.installation.pulse.begin() as conn:
                late = ledger.backlog(conn, now=now - self.overdue)
                waiting = outbox.oldest_pending_age(conn)
        except sa.exc.SQLAlchemyError as error:
            return f"the store cannot be reached: {reason(error)}"
        if late:
            return f"{late} runs have been due for more than {_minutes(self.overdue)}"
        if waiting is not None and waiting > self.overdue:
            return f"a message has been waiting for {_minutes(waiting)}"
        return ""

    async def _send(self, url: str) -> None:
        private = self.installation.config.security.allow_private_addresses
        secrets = url_secrets(url)
        async with asyncio.timeout(DEADLINE):
            answer = await post(url, b"", headers={}, allow_private=private, secrets=secrets)
        refused = classify(answer, secrets=secrets)
        if refused is not None:
            raise refused


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.0f} minutes"
