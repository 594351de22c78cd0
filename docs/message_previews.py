"""Writes docs/messages/ from what an installation has told: `python docs/message_previews.py CONFIG docs/messages`.

For each reason the newest message as mail (a picture light and dark, and the text) and as Slack's blocks; it needs
Chromium.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from playwright.sync_api import sync_playwright

from monitor import charts
from monitor.blocks import slack_blocks
from monitor.installation import load_config, opened
from monitor.message import REASONS, compose, html, text
from monitor.notification import Notification, Reason, from_json

NEWEST = sa.text("""
    SELECT DISTINCT ON (reason) payload
    FROM monitor.notification
    ORDER BY reason, (payload -> 'in_thread')::text, (payload ->> 'chart') IS NULL, created_at DESC
""")
WIDTH = 720
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def told(config: Path) -> Iterator[Notification]:
    """Yield the newest message of each reason, those with a picture first."""
    with opened(load_config(config, os.environ), upgrade=False) as installation, installation.engine.connect() as conn:
        for payload in conn.execute(NEWEST).scalars():
            yield from_json(payload)


def mail(notification: Notification, picture: bytes | None) -> str:
    """Return the mail's page with its picture in it."""
    address = "" if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return html(compose(notification), picture=address)


def drawn(chart: Mapping[str, Any] | None) -> bytes | None:
    """Return the picture of a message as mail has it."""
    return None if chart is None else asyncio.run(charts.picture(chart, seconds=60))


def main(config: Path, folder: Path) -> None:
    """Write a text, blocks and two pictures for each reason that there was, and the page that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {notification.reason: notification for notification in told(config)}
    pages = {reason: mail(one, drawn(one.chart)) for reason, one in found.items()}  # before the browser has its loop
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 400})
        for reason, body in pages.items():
            message = compose(found[reason])
            (folder / f"{reason}.txt").write_text(text(message), encoding="utf-8")
            blocks = json.dumps(slack_blocks(message), indent=1, ensure_ascii=False)
            (folder / f"{reason}.slack.json").write_text(f"{blocks}\n", encoding="utf-8")
            page.set_content(body)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=folder / f"{reason}-{scheme}.png", full_page=True)
        browser.close()
    (folder / "README.md").write_text(index(found), encoding="utf-8")


def index(found: Mapping[Reason, Notification]) -> str:
    """Return the page that names the previews, and the kinds that were never sent."""
    rows = [
        f"| {REASONS[reason]} | [light]({reason}-light.png), [dark]({reason}-dark.png) | [text]({reason}.txt) |"
        f" [blocks]({reason}.slack.json) |"
        for reason in Reason
        if reason in found
    ]
    missing = [REASONS[reason] for reason in Reason if reason not in found]
    lines = [
        "# Messages as people get them",
        "",
        "Made by `python docs/message_previews.py CONFIG docs/messages` from what the demo has told.",
        "",
        "| kind | mail | text | Slack |",
        "|---|---|---|---|",
        *rows,
        "",
        *([f"Not among what it had told then: {', '.join(missing)}.", ""] if missing else []),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
