"""E-mail: text and HTML with an inline picture, by SMTP over verified TLS."""

from __future__ import annotations

import email.policy
import hashlib
import ipaddress
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import aiosmtplib
from aiosmtplib import SMTP
from pydantic import SecretStr

from monitor.egress import redact
from monitor.message import compose, html, text
from monitor.notification import DeliveryError, Notification, Receipt, register

COMMAND_SECONDS = 60.0  # the caller's deadline is shorter
QUIT_SECONDS = 2.0
THREAD = re.compile(r"<[^<>\s]{1,500}>")


@register("email")
@dataclass(frozen=True, kw_only=True)
class EmailChannel:
    """Sends from ``sender`` to each of ``recipients`` through ``host``.

    ``security``: starttls (refused where the server has none), tls, or none, which only a server on this machine gets.
    ``ca_file`` holds certificates to trust instead of the system's.
    """

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    username: str | None = None
    password: SecretStr | None = None
    sender: str
    recipients: tuple[str, ...]
    shows_pictures: ClassVar[bool] = True

    async def send(self, notification: Notification, *, thread_reference: str, picture: bytes | None) -> Receipt:
        message = write(notification, self.sender, self.recipients, thread_reference=thread_reference, picture=picture)
        reference, settled = str(message["Message-ID"]), notification.recipients
        waiting = [address for address in self.recipients if address not in settled]
        if not waiting:
            return Receipt(reference=reference)
        client = SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.security == "tls",
            start_tls=self.security == "starttls",
            tls_context=None if self.security == "none" else _trust(self.ca_file),
            timeout=COMMAND_SECONDS,
        )
        try:
            await self._open(client)
            content = message.as_bytes(policy=email.policy.SMTP)
            refused, code = await self._hand_over(client, content, waiting, "" in settled.values())
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=QUIT_SECONDS)
        finally:
            client.close()
        put_off = {address: said for address, said in refused.items() if not said.startswith("5")}
        settles = {address: refused.get(address, "") for address in waiting if address not in put_off}
        if put_off:
            asked = "; ".join(f"{address}: {said}" for address, said in put_off.items())
            raise DeliveryError(
                f"{self.host} wants to be asked again for {len(put_off)} of {len(self.recipients)} recipients: {asked}",
                status=int(next(iter(put_off.values()))[:3]),
                recipients=settles,
            )
        return Receipt(reference=reference, status=str(code), recipients=settles if len(self.recipients) > 1 else {})

    async def _open(self, client: SMTP) -> None:
        """Connect and log in; nothing that fails here has to do with the message, so all of it is tried again."""
        secrets = [self.password.get_secret_value()] if self.password is not None else []
        try:
            await client.connect()
            peer = str((client.get_transport_info("peername") or ("",))[0])
            if self.security == "none" and not (peer and ipaddress.ip_address(peer.partition("%")[0]).is_loopback):
                raise DeliveryError(
                    f"{self.host} is not on this machine, so security: none is refused; use starttls or tls",
                    permanent=True,
                )
            if self.username is not None and self.password is not None:
                await client.login(self.username, self.password.get_secret_value())
        except aiosmtplib.SMTPResponseException as error:
            said = redact(f"{error.code} {_line(error.message)}", secrets)
            raise DeliveryError(f"{self.host} lets nobody in: {said}", status=error.code) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DeliveryError(f"no connection to {self.host}: {redact(_line(str(error)), secrets)}") from None

    async def _hand_over(
        self, client: SMTP, content: bytes, waiting: list[str], taken: bool
    ) -> tuple[dict[str, str], int]:
        """Give the message to the server for who is waiting; returns who was refused and why, and the server's code.

        ``taken`` says that somebody has it already, so that it is no failure when all the others are refused.
        """
        refused: dict[str, str] = {}
        handed_over = False
        try:
            await client.mail(self.sender)
            for address in waiting:
                try:
                    await client.rcpt(address)
                except aiosmtplib.SMTPRecipientRefused as error:
                    refused[address] = f"{error.code} {_line(error.message)}"
            if len(refused) == len(waiting):
                if taken:
                    return refused, 250
                raise _none_taken(self.host, refused)
            handed_over = True
            return refused, (await client.data(content)).code
        except aiosmtplib.SMTPResponseException as error:
            raise DeliveryError(
                f"{self.host} refused the message: {error.code} {_line(error.message)}",
                permanent=error.code >= 500,
                status=error.code,
            ) from None
        except UnicodeError:
            raise DeliveryError("an address has letters that this server cannot take", permanent=True) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DeliveryError(f"{self.host} went away: {_line(str(error))}", ambiguous=handed_over) from None


def write(
    notification: Notification,
    sender: str,
    recipients: Sequence[str],
    *,
    thread_reference: str = "",
    picture: bytes | None = None,
) -> EmailMessage:
    """Return the notification as a mail whose Message-ID follows from the notification's id.

    All mails of a thread refer to one root that is never sent, so that they stay together even where the first of them
    is not known.
    """
    composed = compose(notification)
    domain = sender.rpartition("@")[2]
    own = f"<{notification.id}@{domain}>"
    root = f"<thread.{hashlib.sha256(notification.thread_key.encode()).hexdigest()[:32]}@{domain}>"
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = composed.subject
    message["Date"] = format_datetime(notification.created_at)
    message["Message-ID"] = own
    known = thread_reference if THREAD.fullmatch(thread_reference) and thread_reference != own else ""
    message["In-Reply-To"] = known or root
    message["References"] = f"{root} {known}".strip()
    message["Auto-Submitted"] = "auto-generated"
    message["X-Monitor-Notification"] = str(notification.id)
    message.set_content(text(composed))
    if picture is None or composed.trend is None:
        message.add_alternative(html(composed), subtype="html")
        return message
    cid = f"chart.{notification.id}@{domain}"
    message.add_alternative(html(composed, picture=f"cid:{cid}"), subtype="html")
    page = message.get_payload()[1]  # type: ignore[index]  # a list of parts once there is an alternative
    page.add_related(picture, "image", "png", cid=f"<{cid}>", filename="chart.png", disposition="inline")  # type: ignore[union-attr]  # as above
    return message


def _none_taken(host: str, refused: Mapping[str, str]) -> DeliveryError:
    address, said = min(refused.items(), key=lambda item: item[1])
    return DeliveryError(
        f"{host} takes the message for none of its recipients: {address}: {said}",
        permanent=said.startswith("5"),
        status=int(said[:3]),
        recipients={} if said.startswith("5") else {name: why for name, why in refused.items() if why.startswith("5")},
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


@lru_cache(maxsize=8)
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
