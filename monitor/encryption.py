"""Whether the way to a database is safe by its address alone: encrypted, and to the server that it says it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

WEAK: Mapping[str, str] = {
    "disable": "sends everything in the clear",
    "allow": "sends everything in the clear where the server lets it",
    "prefer": "is encrypted only where the server offers it, and whoever stands between can say that it does not",
    "require": "is encrypted, but to whoever answers: no certificate is checked",
    "verify-ca": "checks that a certificate is signed, not that it is the server's",
}
"""What each value of libpq's sslmode below verify-full means for a connection over a network."""


def weakness(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return why the way to a database is unsafe, None where it is safe or does not leave this machine.

    ``environ`` may hold PGSSLMODE and PGHOST, which libpq takes where the address says nothing.

    >>> weakness("postgresql://me@db.example.org/logs?sslmode=verify-full&sslrootcert=/etc/ca.pem")
    >>> weakness("postgresql://me@localhost/logs")
    >>> weakness("postgresql://me@db.example.org/logs?sslmode=require")
    'goes to db.example.org with sslmode=require, which is encrypted, but to whoever answers: no certificate is checked'
    """
    known = environ or {}
    parts = urlsplit(url)
    parameters = parse_qs(parts.query)
    _, _, at = parts.netloc.rpartition("@")
    named = parameters.get("host", [unquote(at) or known.get("PGHOST", "")])[0]
    hosts = [host for host in map(_host, named.split(",")) if not stays_here(host)]
    hosts += [ip for ip in parameters.get("hostaddr", []) if not stays_here(ip) and ip not in hosts]
    if not hosts:
        return None
    mode = parameters.get("sslmode", [known.get("PGSSLMODE") or "prefer"])[0]
    means = WEAK.get(mode)
    return f"goes to {', '.join(hosts)} with sslmode={mode}, which {means}" if means else None


def stays_here(host: str) -> bool:
    """Return whether a host is this machine by its spelling: nothing, a socket's directory, or a loopback name."""
    if not host or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _host(written: str) -> str:
    """The host of ``host``, ``host:port`` or ``[v6]:port``; a socket's directory may hold colons."""
    if written.startswith(("/", "@")):
        return written
    if written.startswith("["):
        return written[1:].partition("]")[0]
    return written if written.count(":") > 1 else written.partition(":")[0]
