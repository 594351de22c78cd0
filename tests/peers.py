"""Peers that channels talk to in tests: real servers on the loopback, some of them ill-behaved."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server  # noqa: N811  # it is one
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitor.check import Severity
from monitor.notification import Channel, Fact, Notification, Reason, Receipt

HOST = "127.0.0.1"


def notification(**fields: Any) -> Notification:
    """Return an ordinary notification, some fields of which may be given."""
    usual: dict[str, Any] = {
        "id": UUID("6b1f0c3e-8a57-4a5e-9d0e-3f1f6f2f7a10"),
        "model": "flight-delay",
        "reason": Reason.FIRST,
        "severity": Severity.CRITICAL,
        "title": "Late more often than predicted",
        "summary": "45 % were late, 19 % were expected.",
        "created_at": dt.datetime(2013, 4, 25, 6, tzinfo=dt.UTC),
        "thread_key": "flight-delay/outcome/1",
        "group_key": "flight-delay",
        "window_label": "23 April 2013",
        "facts": (
            Fact(
                subject="late share",
                text="45 %, expected 19 %: difference 0.26, threshold 0.08, n = 912",
                value=0.26,
                threshold=0.08,
                n_current=912,
            ),
        ),
        "cost": "USD 1,240 on this day",
        "next_step": "Look for an outside cause.",
        "links": {"Open": "http://127.0.0.1:8080/alerts/1"},
        "chart": {
            "title": "late share",
            "x": ["21", "22", "23"],
            "lines": {"late": [0.2, 0.4, 0.45]},
            "threshold": 0.3,
        },
    }
    return Notification(**{**usual, **fields})


@dataclass(frozen=True)
class Request:
    """What came to an HTTP peer."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What an HTTP peer answers; ``hang`` closes the connection without an answer."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False


class HttpPeer:
    """An HTTP server that answers with ``replies`` in turn, then with ``usual``, and keeps what it was asked.

    ``exchanges`` are the requests with what each was answered.
    """

    def __init__(self, usual: Reply = Reply(), context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.exchanges: list[tuple[Request, Reply]] = []
        self.replies: deque[Reply] = deque()
        self.usual = usual
        self.arrived = threading.Event()
        self.silent = threading.Event()
        """While it is set, nobody is answered."""
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                peer.requests.append(request)
                peer.arrived.set()
                while peer.silent.is_set():
                    time.sleep(0.05)
                reply = peer.replies.popleft() if peer.replies else peer.usual
                peer.exchanges.append((request, reply))
                if reply.hang_up:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # a client may stop reading an endless answer
                    self.wfile.write(reply.body)

            do_GET = do_POST  # noqa: N815  # named by the standard library; what a followed redirect would be

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._scheme = "https" if context else "http"
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused certificate is what is tested
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Address without a path."""
        return f"{self._scheme}://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> HttpPeer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailPeer:
    """A mail server that keeps what it gets; ``refuse`` maps recipients to the answer they get, in turn or always."""

    def __init__(self, **options: Any) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuse: dict[str, str] = {}
        self.data_reply = ""
        self.logins: list[tuple[bytes, bytes]] = []
        peer = self

        class Handler:
            async def handle_RCPT(  # noqa: N802  # named by aiosmtpd
                self, _server: Server, _session: Session, envelope: Envelope, address: str, _options: list[str]
            ) -> str:
                if address in peer.refuse:
                    return peer.refuse[address]
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, _server: Server, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
                if peer.data_reply:
                    return peer.data_reply
                content = envelope.content if isinstance(envelope.content, bytes) else b""
                mail = message_from_bytes(content, policy=policy.default)
                assert isinstance(mail, EmailMessage)
                peer.mails.append((list(envelope.rcpt_tos), mail))
                return "250 OK"

        def check(_server: Server, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
            assert isinstance(data, LoginPassword)
            peer.logins.append((data.login, data.password))
            return AuthResult(success=data.password == b"right", handled=False)

        class OnFreePort(Controller):
            def _trigger_server(self) -> None:
                self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]  # it runs by now
                super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd's

        self._controller = OnFreePort(Handler(), hostname=HOST, port=0, authenticator=check, **options)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._controller.port)

    def __enter__(self) -> MailPeer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


@contextmanager
def dribble(opening: bytes, drop: bytes) -> Iterator[int]:
    """Listen, say ``opening`` to who connects, then ``drop`` for ever, 20 times a second; yields the port."""
    stop = threading.Event()
    listener = socket.create_server((HOST, 0))
    listener.settimeout(0.05)

    def talk(conn: socket.socket) -> None:
        with conn, suppress(OSError):
            conn.sendall(opening)
            while not stop.wait(0.05):
                conn.sendall(drop)

    def accept() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                conn, _ = listener.accept()
                talkers.append(threading.Thread(target=talk, args=(conn,)))
                talkers[-1].start()

    talkers = [threading.Thread(target=accept)]
    talkers[0].start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        for talker in talkers:
            talker.join()
        listener.close()


def send(channel: Channel, told: Notification, *, thread: str = "", picture: bytes | None = None) -> Receipt:
    """Send one message within 30 seconds."""

    async def within() -> Receipt:
        try:
            async with asyncio.timeout(30):
                return await channel.send(told, thread_reference=thread, picture=picture)
        finally:
            await asyncio.sleep(0.02)  # the loop of a daemon goes on, and closes what broke off in a handshake

    return asyncio.run(within())


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server((HOST, 0)) as taken:
        return int(taken.getsockname()[1])


def certificate(folder: Path, name: str = HOST, *, days: int = 1) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a self-signed certificate for ``name`` and the context of a server that shows it.

    It is good for ``days`` more; with a negative number it is over.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    with suppress(ValueError):
        names = [x509.IPAddress(ipaddress.ip_address(name))]
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{time.monotonic_ns()}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return file, context
