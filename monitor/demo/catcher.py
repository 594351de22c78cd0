"""Where the demo's messages arrive: a mail server and a webhook on loopback that keep what really came.

Each message is written as it came to ``DIR/messages``: mails as ``.eml`` (any mail program opens them), webhooks as
``.json``.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
LARGEST = 20_000_000  # bytes of one message


@dataclass(frozen=True, kw_only=True)
class Caught:
    """One message as it arrived, over ``mail`` or ``webhook``: its first line, its text, the file with all of it."""

    kind: str
    subject: str
    text: str
    file: Path
    thread: str = ""
    """Of a mail: the message it answers."""


@dataclass(kw_only=True)
class Catcher:
    """The two servers; ``messages`` grows in order of arrival. Use as a context manager, or ``stop`` it.

    ``seen`` is called for every message, from the server's thread.
    """

    folder: Path
    seen: Callable[[Caught], None] | None = None
    messages: list[Caught] = field(default_factory=list)
    mail_port: int = 0
    """Port of the mail server; 0 before the start: any free one."""
    web_port: int = 0
    """Port of the webhook; 0 before the start: any free one."""
    _arrived: threading.Condition = field(default_factory=threading.Condition, repr=False)
    _web: ThreadingHTTPServer | None = field(default=None, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def webhook_url(self) -> str:
        """Where webhooks go."""
        return f"http://{HOST}:{self.web_port}/services/ops"

    def __enter__(self) -> Self:
        """Start both servers; returns when they listen."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._web = ThreadingHTTPServer((HOST, self.web_port), _handler(self))
        self._web.daemon_threads = True
        self.web_port = self._web.server_address[1]
        threading.Thread(target=self._web.serve_forever, name="catch webhooks", daemon=True).start()
        listening = threading.Event()
        self._thread = threading.Thread(target=self._serve_mail, args=(listening,), name="catch mail", daemon=True)
        self._thread.start()
        listening.wait()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """Close both servers; stopping twice is harmless."""
        if self._web is not None:
            self._web.shutdown()
            self._web.server_close()
            self._web = None
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop = None

    def wait_for(self, count: int, timeout: float = 30.0) -> list[Caught]:
        """Return the messages once there are ``count`` of them; raises TimeoutError after ``timeout`` seconds."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.messages) >= count, timeout):
                raise TimeoutError(f"{len(self.messages)} of {count} messages arrived within {timeout:.0f} seconds")
            return list(self.messages)

    def keep(self, kind: str, content: bytes, subject: str, text: str, thread: str = "") -> None:
        """Write one message to its file and enter it."""
        suffix = "eml" if kind == "mail" else "json"
        with self._arrived:
            file = self.folder / f"{len(self.messages) + 1:04d}-{kind}.{suffix}"
            file.write_bytes(content)
            caught = Caught(kind=kind, subject=subject, text=text, file=file, thread=thread)
            self.messages.append(caught)
            self._arrived.notify_all()
        if self.seen is not None:
            self.seen(caught)

    def _serve_mail(self, listening: threading.Event) -> None:
        from aiosmtpd.smtp import SMTP

        loop = asyncio.new_event_loop()
        inbox = _Inbox(self)

        def session() -> Any:
            return SMTP(inbox, hostname="localhost", data_size_limit=LARGEST, enable_SMTPUTF8=True, loop=loop)

        server = loop.run_until_complete(loop.create_server(session, HOST, self.mail_port))
        self.mail_port = server.sockets[0].getsockname()[1]
        self._loop = loop
        listening.set()
        try:
            loop.run_forever()
        finally:
            server.close()
            loop.run_until_complete(_settled())
            loop.close()


async def _settled() -> None:
    """Cancel what still runs on the loop, such as a mail session that the peer left open."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Inbox:
    """What aiosmtpd calls with each mail."""

    def __init__(self, catcher: Catcher) -> None:
        self._catcher = catcher

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        content: bytes = envelope.content
        mail = email.message_from_bytes(content, policy=email.policy.default)
        body = mail.get_body(("plain", "html"))
        text = body.get_content() if body is not None else ""
        self._catcher.keep("mail", content, str(mail["Subject"] or ""), str(text), str(mail["In-Reply-To"] or ""))
        return "250 Message accepted"


def _handler(catcher: Catcher) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), LARGEST)
            content = self.rfile.read(length)
            try:
                payload = json.loads(content)
            except ValueError:
                self._answer(400, "invalid_payload")
                return
            catcher.keep("webhook", content, *_words(payload))
            self._answer(200, "ok")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name that http.server gives
            """Say nothing: the console belongs to the replay."""

    return Handler


def _words(payload: Any) -> tuple[str, str]:
    """Return the first line and the readable text of a webhook's JSON, whatever its form.

    >>> _words({"text": "late again", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "57 % late"}}]})
    ('late again', '57 % late')
    """
    if not isinstance(payload, dict):
        return str(payload), ""
    blocks = payload.get("blocks") or payload.get("attachments") or []
    texts = [text.strip() for text in _texts(blocks) if text.strip()]
    subject = str(payload.get("text") or payload.get("title") or (texts[0] if texts else ""))
    return subject.splitlines()[0] if subject else "", "\n".join(texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("text", "title", "fallback") and isinstance(item, str):
                yield item
            else:
                yield from _texts(item)


@contextmanager
def catching(folder: Path) -> Iterator[Catcher]:
    """Yield a running catcher that writes to ``folder``."""
    with Catcher(folder=folder) as catcher:
        yield catcher
