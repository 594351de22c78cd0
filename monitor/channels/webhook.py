"""Webhook: the notification as JSON in a signed POST.

The body is ``{"schema": "monitor.notification/1", "notification": {…}, "text": "…"}``: the fields of Notification
(times in ISO 8601, numbers that are not finite as null), and the message as people would read it. Headers:

``Idempotency-Key``
    The notification id; the same for each try, so a receiver can take a repeat for what it is.
``X-Monitor-Signature: t=1366718400,v1=<hex>``
    Where a secret is configured: seconds since 1970, and the HMAC-SHA256 of ``t``, a full stop and the body, with the
    secret. A receiver computes it over the bytes as they came, compares in constant time and refuses old times.

Any 2xx is taken as received.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from monitor.egress import classify, post, url_secrets
from monitor.message import compose, text
from monitor.notification import Notification, Receipt, register, to_json

SCHEMA = "monitor.notification/1"


@register("webhook")
@dataclass(frozen=True, kw_only=True)
class WebhookChannel:
    """Posts JSON to ``url``, signed with ``secret``; ``allow_private`` lets the address be a private one."""

    url: SecretStr
    secret: SecretStr | None = None
    ca_file: Path | None = None
    allow_private: bool = False

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        url = self.url.get_secret_value()
        secret = self.secret.get_secret_value() if self.secret is not None else ""
        said = {"schema": SCHEMA, "notification": to_json(notification), "text": text(compose(notification))}
        body = json.dumps(said, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(notification.id)}
        if secret:
            headers["X-Monitor-Signature"] = sign(body, secret, at=int(time.time()))
        secrets = [*url_secrets(url), secret]
        answer = await post(
            url, body, headers=headers, allow_private=self.allow_private, ca_file=self.ca_file, secrets=secrets
        )
        if error := classify(answer, secrets=secrets):
            raise error
        return Receipt(status=str(answer.status))


def sign(body: bytes, secret: str, *, at: int) -> str:
    """Return the signature header of a body at a time in seconds since 1970.

    >>> sign(b"{}", "key", at=1366718400)
    't=1366718400,v1=b8591922f3195c152606a5b96a1260a08bb2f11f0a52ca3d4b689d27c906d099'
    """
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"
