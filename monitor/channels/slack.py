"""Slack: by incoming webhook, or as a bot, which alone can answer in threads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from monitor.blocks import slack_blocks, slack_text
from monitor.egress import Answer, classify, post, redact, retry_after, url_secrets
from monitor.message import compose
from monitor.notification import DeliveryError, Notification, Receipt, register

LIMITS = frozenset({"ratelimited", "rate_limited"})
TEMPORARY = LIMITS | {"internal_error", "fatal_error", "service_unavailable", "request_timeout"}
TOO_MANY = 429
FALLBACK = 1000


@register("slack")
@dataclass(frozen=True, kw_only=True)
class SlackChannel:
    """Posts Block Kit to an incoming webhook (``webhook_url``), or as a bot (``token``) to a ``channel``.

    A webhook returns no reference, so its messages never thread. ``allow_private`` lets the address be a private one.
    """

    webhook_url: SecretStr | None = None
    token: SecretStr | None = None
    channel: str | None = None
    api_url: str = "https://slack.com/api"
    ca_file: Path | None = None
    allow_private: bool = False

    #: Slack takes one message a second and channel.
    spacing: ClassVar[timedelta] = timedelta(seconds=1)

    def __post_init__(self) -> None:
        if (self.webhook_url is None) == (self.token is None):
            raise ValueError("needs exactly one of webhook_url and token; give one")
        if (self.token is None) != (self.channel is None):
            raise ValueError("needs token and channel together; give both")

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        message = compose(notification)
        body: dict[str, Any] = {
            # what phones and screen readers show; Slack looks for mentions in it as well
            "text": slack_text(message.subject, FALLBACK),
            "blocks": slack_blocks(message),
            "unfurl_links": False,
            "unfurl_media": False,
        }
        if self.webhook_url is not None:
            return await self._by_webhook(self.webhook_url.get_secret_value(), body)
        if thread_reference:
            body["thread_ts"] = thread_reference
        return await self._as_bot({**body, "channel": self.channel, "parse": "none", "link_names": False})

    async def _by_webhook(self, url: str, body: dict[str, Any]) -> Receipt:
        secrets = url_secrets(url)
        answer = await self._post(url, body, {}, secrets)
        if not (answer.complete and answer.body == b"ok"):
            # a login page of a network answers 200 as well
            raise DeliveryError(
                f"{answer.host} answered {answer.status} but not as Slack does: {answer.excerpt(secrets)}",
                status=answer.status,
            )
        return Receipt(status=str(answer.status))

    async def _as_bot(self, body: dict[str, Any]) -> Receipt:
        token = self.token.get_secret_value() if self.token is not None else ""
        url = f"{self.api_url.rstrip('/')}/chat.postMessage"
        answer = await self._post(url, body, {"Authorization": f"Bearer {token}"}, [token])
        try:
            says = json.loads(answer.body)
            ok, error = says["ok"] is True, str(says.get("error", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DeliveryError(
                f"{answer.host} answered {answer.status} but not as Slack does: {answer.excerpt([token])}",
                status=answer.status,
            ) from None
        if not ok:
            raise DeliveryError(
                f"Slack refused: {redact(error, [token])[:200]}",
                permanent=error not in TEMPORARY,
                retry_after=asked_wait(answer),
                status=TOO_MANY if error in LIMITS else answer.status,
            )
        return Receipt(reference=str(says.get("ts") or ""), status=str(answer.status))

    async def _post(self, url: str, body: dict[str, Any], headers: dict[str, str], secrets: list[str]) -> Answer:
        answer = await post(
            url,
            json.dumps(body).encode(),
            headers={"Content-Type": "application/json; charset=utf-8", **headers},
            allow_private=self.allow_private,
            ca_file=self.ca_file,
            secrets=secrets,
        )
        if error := classify(answer, secrets=secrets):
            if not error.permanent and error.retry_after is None:
                error.retry_after = asked_wait(answer)
            raise error
        return answer


def asked_wait(answer: Answer) -> float | None:
    """Return the seconds that Slack asks to wait, in the header or in the body; None where it does not."""
    try:
        said = json.loads(answer.body).get("retry_after")
    except (ValueError, AttributeError):
        said = None
    return retry_after(answer.headers.get("retry-after") or str(said or ""), datetime.now(UTC))
