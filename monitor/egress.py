"""Requests that leave the machine: to which addresses they may go, how they end, and what an error says of them.

The address is resolved once, judged, and connected to as it was judged, so that a name cannot be judged as one address
and reached as another. Redirects and proxies of the environment are not followed, the certificate is verified, the
answer is read up to 64 KiB. The caller sets the total deadline.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path

import httpx

from monitor.notification import DeliveryError

MOST_BYTES = 64 * 1024
EXCERPT = 200
LONGEST_WAIT = 3600.0
TEMPORARY = frozenset({408, 425, 429})
CONNECT_SECONDS = 10.0

# At INFO they write every address that is called, and the address of a webhook is a secret.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

PRIVATE = "leads to a private address, which security.allow_private_addresses would allow"
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # where the IPv4 address lies in it is the network's own affair
# Metadata services of clouds that are not link-local.
METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a peer answered; ``body`` is what was read of it, ``complete`` whether that is all."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool
    host: str

    def excerpt(self, secrets: Sequence[str] = ()) -> str:
        """Return the beginning of the body in one line, without secrets and without unprintable characters."""
        text = redact(self.body.decode("utf-8", "replace"), secrets)
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:EXCERPT]


async def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    allow_private: bool = False,
    ca_file: Path | None = None,
    secrets: Sequence[str] = (),
) -> Answer:
    """Send a POST and return the answer, whatever its status is.

    Raises DeliveryError where there is none: permanent if the address is refused, ambiguous if the peer may have got
    the request. No error carries the address beyond its host, nor any of ``secrets``.
    """
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise DeliveryError("the address is no valid URL; correct it in the configuration", permanent=True) from None
    host = target.host
    if target.scheme not in ("http", "https") or not host:
        raise DeliveryError("the address must begin with https:// and name a host", permanent=True)
    transport = _Pinned(httpx.AsyncHTTPTransport(verify=_trust(ca_file), trust_env=False), allow_private)
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    # nothing is unpacked, so that a small answer stays small
    sent = {**headers, "Accept-Encoding": "identity", "User-Agent": "drift-monitor"}
    try:
        async with (
            httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=timeout) as client,
            client.stream("POST", target, content=body, headers=sent) as response,
        ):
            received, complete = b"", True
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > MOST_BYTES:
                    received, complete = received[:MOST_BYTES], False
                    break
            return Answer(
                status=response.status_code, headers=response.headers, body=received, complete=complete, host=host
            )
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise DeliveryError(f"no connection to {host}: {_reason(error, secrets)}") from None
    except httpx.HTTPError as error:
        raise DeliveryError(f"no answer from {host}: {_reason(error, secrets)}", ambiguous=True) from None


def classify(answer: Answer, *, secrets: Sequence[str] = (), now: datetime | None = None) -> DeliveryError | None:
    """Return the error that an answer means, None for 2xx.

    Temporary are 408, 425, 429, 5xx and redirects (which are not followed: a login page of a network looks like one);
    other statuses are permanent. 504 is ambiguous: the service behind the gateway may have done its work.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    temporary = status >= 500 or status in TEMPORARY or 300 <= status < 400
    redirected = " (a redirect, which is not followed)" if 300 <= status < 400 else ""
    said = answer.excerpt(secrets)
    return DeliveryError(
        f"{answer.host} answered {status}{redirected}{': ' + said if said else ''}",
        permanent=not temporary,
        retry_after=retry_after(answer.headers.get("retry-after"), now or datetime.now(UTC)) if temporary else None,
        ambiguous=status == 504,
        status=status,
    )


def retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds to wait that a Retry-After header asks for, at most an hour; None where it says nothing.

    >>> now = datetime(2013, 4, 23, 12, tzinfo=UTC)
    >>> [retry_after(h, now) for h in ("30", "Tue, 23 Apr 2013 12:01:00 GMT", "999999", "-1", "soon", None)]
    [30.0, 60.0, 3600.0, 0.0, None, None]
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return a text with each of the secrets (of four characters or more) replaced by three stars.

    >>> redact("no_service T0/B0/hunter2", ["hunter2"])
    'no_service T0/B0/***'
    """
    for secret in sorted(filter(lambda secret: len(secret) >= 4, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def url_secrets(url: str) -> list[str]:
    """Return the parts of an address that may be secret: all of it, path and its parts, query, user, password."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return [url]
    parts = [url, str(parsed), parsed.path, parsed.query.decode(), parsed.username, parsed.password]
    return [part for part in [*parts, *parsed.path.split("/")] if len(part) >= 4]


def refusal(address: IPAddress, *, allow_private: bool, encrypted: bool) -> str | None:
    """Return why an address may not be called, None where it may.

    Link-local addresses never (the metadata services of clouds live there), private and loopback ones only where the
    installation allows them, and without TLS those only. IPv6 addresses that carry an IPv4 one are judged by it.

    >>> refusal(ipaddress.ip_address("::ffff:169.254.169.254"), allow_private=True, encrypted=True)
    'leads to a link-local or special address'
    >>> refusal(ipaddress.ip_address("127.0.0.1"), allow_private=False, encrypted=True)
    'leads to a private address, which security.allow_private_addresses would allow'
    >>> refusal(ipaddress.ip_address("8.8.8.8"), allow_private=True, encrypted=False)
    'is not encrypted; use https'
    """
    address = _carried(address)
    if address.is_loopback:
        return None if allow_private else PRIVATE
    special = address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved
    if special or address in METADATA or (address.version == 6 and address in LOCAL_NAT64):
        return "leads to a link-local or special address"
    if not address.is_global:
        return None if allow_private else PRIVATE
    return None if encrypted else "is not encrypted; use https"


def _carried(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


class _Pinned(httpx.AsyncBaseTransport):
    """Connects to an address that was judged, while name, certificate and Host header stay those of the URL."""

    def __init__(self, inner: httpx.AsyncHTTPTransport, allow_private: bool) -> None:
        self._inner = inner
        self._allow_private = allow_private

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, encrypted = request.url.host, request.url.scheme == "https"
        failure: httpx.ConnectError | httpx.ConnectTimeout = httpx.ConnectError("the name has no address")
        refused = ""
        for address in await _addresses(host, request.url.port or (443 if encrypted else 80)):
            if reason := refusal(address, allow_private=self._allow_private, encrypted=encrypted):
                refused = reason
                continue
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        if refused and str(failure) == "the name has no address":
            raise DeliveryError(f"the address of {host} {refused}; nothing was sent", permanent=True)
        raise failure

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _addresses(host: str, port: int) -> list[IPAddress]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpx.ConnectTimeout("its name was not resolved in time") from None
    except (socket.gaierror, UnicodeError) as error:
        raise httpx.ConnectError(f"its name cannot be resolved ({error})") from None
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


@lru_cache(maxsize=8)
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is not None:
        return ssl.create_default_context(cafile=str(ca_file))
    return httpx.create_ssl_context(trust_env=False)


def _reason(error: Exception, secrets: Sequence[str]) -> str:
    said = redact(str(error), secrets).replace("\n", " ")[:EXCERPT]
    return said or type(error).__name__
