"""Writes docs/messages/: `python docs/message_previews.py docs/messages [CONFIG]`, from the folder of the repository.

Every kind of message as mail (a picture light and dark, and the text) and as Slack's blocks. With the CONFIG of an
installation, such as the demo's, a kind is the newest message that it has told; the kinds that it never had to tell are
those of `tests/browser/occasions.py`, which brings each about on a database. It needs Chromium.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import sqlalchemy as sa
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from monitor import charts, embedded, schema
from monitor.blocks import slack_blocks
from monitor.installation import load_config, opened
from monitor.message import REASONS, compose, html, text
from monitor.notification import Notification, Reason, from_json
from tests.browser import occasions

NEWEST = sa.text("""
    SELECT DISTINCT ON (reason) payload
    FROM monitor.notification
    ORDER BY reason, (payload -> 'in_thread')::text, (payload ->> 'chart') IS NULL, created_at DESC
""")
WIDTH = 720
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=/confirm/)[\w-]{43}")
LARGEST = "first-300-columns"
HOSTILE = "first-hostile"


def told(config: Path) -> Iterator[Notification]:
    """Yield the newest message of each reason, those with a picture first."""
    with opened(load_config(config, os.environ), upgrade=False) as installation, installation.engine.connect() as conn:
        for payload in conn.execute(NEWEST).scalars():
            yield from_json(payload)


def brought_about(columns: list[str], said: str) -> Mapping[Reason, Notification]:
    """Return a message of each reason about a model whose ``columns`` are broken."""
    with TemporaryDirectory() as name, embedded.start(Path(name) / "store") as database:
        schema.upgrade(database.url)
        with occasions.told(Path(name), database, columns, said) as heard:
            return dict(heard)


def steady(written: str) -> str:
    """Return a preview's text with what is drawn by lot, ids and links that work once, the same each time."""
    return RANDOM.sub("…", written)


def mail(notification: Notification, picture: bytes | None) -> str:
    """Return the mail's page with its picture in it."""
    address = "" if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return html(compose(notification), picture=address)


def drawn(chart: Mapping[str, Any] | None) -> bytes | None:
    """Return the picture of a message as mail has it."""
    return None if chart is None else asyncio.run(charts.picture(chart, seconds=60))


def main(folder: Path, config: Path | None) -> None:
    """Write a text, blocks and two pictures for each reason and two extremes, and the page that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {} if config is None else {notification.reason: notification for notification in told(config)}
    found = {
        str(reason): one for reason, one in (brought_about(occasions.features(1), "the feed moves") | known).items()
    }
    found[LARGEST] = brought_about(occasions.features(300), "the feed moves")[Reason.FIRST]
    found[HOSTILE] = brought_about([*occasions.HOSTILE.values()], occasions.HOSTILE["script"])[Reason.FIRST]
    pages = {name: mail(one, drawn(one.chart)) for name, one in found.items()}  # before the browser has its loop
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 400})
        for name, body in pages.items():
            message = compose(found[name])
            (folder / f"{name}.txt").write_text(steady(text(message)), encoding="utf-8")
            blocks = json.dumps(slack_blocks(message), indent=1, ensure_ascii=False)
            (folder / f"{name}.slack.json").write_text(f"{steady(blocks)}\n", encoding="utf-8")
            page.set_content(body)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)
        browser.close()
    (folder / "README.md").write_text(index(set(known)), encoding="utf-8")


def index(real: set[Reason]) -> str:
    """Return the page that names the previews, and which of them an installation has told."""

    def row(name: str, words: str, origin: str) -> str:
        pictures = f"[light]({name}-light.png), [dark]({name}-dark.png)"
        return f"| {words} | {origin} | {pictures} | [text]({name}.txt) | [blocks]({name}.slack.json) |"

    lines = [
        "# Messages as people get them",
        "",
        "Made by `python docs/message_previews.py docs/messages .demo/monitor.yaml`. Those of the demo are about",
        "real flights; what the demo never has to tell is brought about on a database by `tests/browser/occasions.py`,",
        "through the code that tells it: a model whose weather changes its unit. `tests/browser/test_messages.py`",
        "looks at all kinds with 1 and 300 columns and with hostile names, in Chromium and by Slack's own models.",
        "",
        "| kind | from | mail | text | Slack |",
        "|---|---|---|---|---|",
        *(row(str(reason), REASONS[reason], "demo" if reason in real else "a database") for reason in Reason),
        row(LARGEST, "New, of 300 columns", "a database"),
        row(HOSTILE, "New, with names that attack", "a database"),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
