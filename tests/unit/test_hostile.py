"""Names from other people's tables, as hostile as they come, through everything that shows them to people."""

from __future__ import annotations

import csv
import email.policy
import io
import json
import re
import unicodedata
from dataclasses import replace
from email import message_from_bytes
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitor.blocks import MOST_BLOCKS, SECTION, slack_blocks
from monitor.channels.email import write
from monitor.command import Format, say, show
from monitor.message import compose, html, text
from monitor.notification import Fact, Notification, to_json
from monitor.terminal import HIDDEN
from tests.peers import notification

EVIL = [
    "<!channel>",
    "<@U123>",
    "<https://evil.example.org|click>",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "`code` *bold* _it_ ~no~",
    "a\r\nBcc: victim@example.org\r\n\r\nbody",
    "\u202egnp.exe",
    "\u200bz\u200dw",
    "\x1b]0;title\x07\x1b[2J\x9b31m",
    "x" * 10_000,
    "<!here>" * 2000,
    "&lt;!channel&gt;",
    "{{ 7*7 }}{% raw %}",
    "=cmd|'/c calc'!A1",
    "\x00\x01",
]
LETTERS = st.sampled_from(list("<>!@#|&;\"'`*_~{}%=\r\n\t\x1b\x9b\u202e\u200b ab"))
NAMES = st.text(LETTERS, max_size=60) | st.sampled_from(EVIL)  # half a surrogate pair is in no name that Postgres has
TAGS = set(re.findall(r"<([a-z0-9]+)", html(compose(notification()))))


def told(name: str) -> Notification:
    """Return a notification with a name in every field that holds one."""
    return replace(
        notification(),
        model=name, model_version=name, title=name, summary=name, note=name, cost=name, next_step=name,
        window_label=name, thread_key=name, group_key=name,
        facts=(Fact(subject=name, text=name, statistic=name), Fact(subject=name, text="", statistic=name, value=1.0)),
        links={name: f"https://example.org/{name}", f"{name}2": name},
        chart={"title": name, "x": [name] * 2, "lines": {name: [1.0, 2.0]}, "threshold": 1.0},
    )  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of a page: its elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def shows_itself(said: str) -> bool:
    """Whether nothing in a text hides, reorders or commands."""
    return not any(unicodedata.category(c) in HIDDEN and c not in "\n\t" for c in said)


@settings(deadline=None)
@given(NAMES)
@example("<script>alert(1)</script>")
def test_a_page_of_mail_has_no_element_attribute_or_address_of_a_name(name: str) -> None:
    page = Page()
    page.feed(html(compose(told(name))))
    assert page.seen <= TAGS
    assert not [a for a, _ in page.attributes if a.startswith("on")]
    addresses = [value for attribute, value in page.attributes if attribute in ("href", "src")]
    assert all(address.startswith(("https://example.org/", "cid:")) for address in addresses), addresses


@settings(deadline=None)
@given(NAMES)
@example("<!channel>")
def test_slack_gets_no_mention_link_or_block_beyond_its_limits(name: str) -> None:
    blocks = slack_blocks(compose(told(name)))
    assert len(blocks) <= MOST_BLOCKS
    for block in blocks:
        for part in [block["text"]] if "text" in block else block["elements"]:
            said = part["text"]
            assert len(said) <= SECTION
            assert shows_itself(said)
            links = re.findall(r"<([^>]*)>", said)
            assert all(link.startswith("https://example.org/") for link in links), said
            assert said.count("<") == len(links)


@settings(deadline=None)
@given(NAMES)
def test_a_mail_has_the_headers_that_we_gave_it(name: str) -> None:
    usual = write(notification(), "m@example.org", ["t@example.org"])
    content = write(told(name), "m@example.org", ["t@example.org"]).as_bytes(policy=email.policy.SMTP)
    parsed = message_from_bytes(content, policy=email.policy.default)
    assert parsed.keys() == usual.keys()
    assert parsed["To"] == "t@example.org"
    assert len(parsed["Subject"]) <= 250
    assert shows_itself(str(parsed["Subject"]))


@settings(deadline=None)
@given(NAMES)
def test_plain_text_and_json_show_what_is_there(name: str) -> None:
    assert shows_itself(text(compose(told(name))))
    said = json.dumps(to_json(told(name)), allow_nan=False)
    assert said.isascii()
    assert len(text(compose(told(name)))) < 20_000


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
@example("\x1b[2J")
def test_a_terminal_gets_nothing_that_it_would_obey(capsys: pytest.CaptureFixture[str], name: str) -> None:
    rows: list[dict[str, Any]] = [{"subject": name, "value": 1.0}]
    show(rows, form=Format.TABLE)
    say(name)
    out, err = capsys.readouterr()
    assert shows_itself(out)
    assert shows_itself(err)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES.filter(lambda name: name.isprintable() or "\n" in name))
@example("=1+1")
def test_csv_has_its_rows_and_no_formula(capsys: pytest.CaptureFixture[str], name: str) -> None:
    show([{"subject": name, "value": -1.5}], form=Format.CSV)
    read = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert read[0] == ["subject", "value"]
    assert len(read) == 2
    assert read[1][0] in (name, f"'{name}")
    assert not read[1][0].startswith(("=", "+", "-", "@"))
    assert read[1][1] == "-1.5", "a number is no formula"


@settings(deadline=None)
@given(NAMES)
def test_a_metric_has_the_label_as_it_is_and_no_line_of_its_own(name: str) -> None:
    registry = CollectorRegistry()
    Gauge("monitor_drift_effect", "Effect.", ["feature"], registry=registry).labels(name).set(1)
    exposed = generate_latest(registry).decode()
    samples = [one for family in text_string_to_metric_families(exposed) for one in family.samples]
    assert [(one.name, one.labels) for one in samples] == [("monitor_drift_effect", {"feature": name})]
