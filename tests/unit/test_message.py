"""Messages read the same everywhere: order, words, lengths, and nothing that a name can smuggle in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.blocks import HEADER, MOST_BLOCKS, SECTION, slack_blocks, slack_text
from monitor.charts import sparkline
from monitor.check import Severity
from monitor.message import QUIET, REASONS, compose, html, plain, text
from monitor.notification import Fact, Notification, Reason, from_json, to_json
from tests.peers import notification

EVIL = "<script>alert(1)</script> <!channel> <@U1> `code` *b* \u202egnp.exe\u200b\x00 \"q\" 'z' & \r\n--\r\nnew line "
TAME = 'A "quoted" & <angled> word'


def everywhere(value: str, facts: int = 300) -> Notification:
    """A notification that has ``value`` in every text."""
    return notification(
        model=value,
        model_version=value,
        role=value,
        title=value,
        summary=value,
        window_label=value,
        facts=tuple(Fact(subject=value, text=value, statistic=value, value=1.0) for _ in range(facts)),
        cost=value,
        next_step=value,
        note=value,
        links={
            value: "javascript:alert(1)",
            f"{value}2": f"https://example.org/{value}?a=1&b=2|x>",
            "3": "https://e/" + value * 99,
        },
        chart={"title": value, "x": [value], "lines": {value: [1.0, None, 2.0]}, "threshold": 1.5},
    )


class Tags(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def strings(value: Any) -> list[str]:
    """All texts in blocks."""
    if isinstance(value, dict):
        return [found for key, item in value.items() if key != "type" for found in strings(item)]
    if isinstance(value, list):
        return [found for item in value for found in strings(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("reason", list(Reason))
def test_severity_model_window_and_reason_come_first(reason: Reason) -> None:
    message = compose(notification(reason=reason))
    first_lines = text(message).splitlines()[0]
    lead = REASONS[reason] if reason in QUIET else "Critical"
    assert first_lines.startswith(f"{lead.upper()} · flight-delay · 23 April 2013")
    assert message.subject.startswith(f"{lead} · flight-delay · 23 April 2013 · ")
    assert REASONS[reason].lower() in first_lines.lower()
    assert slack_blocks(message)[0]["text"]["text"][2:].startswith(lead)


def test_a_message_says_size_threshold_count_cost_and_what_to_do() -> None:
    message = compose(notification())
    page, blocks = Tags(html(message)).words, " ".join(strings(slack_blocks(message)))
    for medium in (text(message), page, blocks):
        for said in (
            "late share",
            "45 %, expected 19 %",
            "difference 0.26, threshold 0.08, n = 912",
            "USD 1,240 on this day",
            "Look for an outside cause.",
            "▁▇█",
            "0.2 to 0.45, last 0.45, threshold 0.3",
            "Open",
            "6b1f0c3e-8a57-4a5e-9d0e-3f1f6f2f7a10",
        ):
            assert said in medium, said


def test_a_note_on_the_time_stands_in_every_medium() -> None:
    message = compose(notification(note="°C instead of °F"))
    for medium in (text(message), Tags(html(message)).words, " ".join(strings(slack_blocks(message)))):
        assert re.search(r"note:\W+°C instead of °F", medium, re.IGNORECASE)


def test_replies_are_short() -> None:
    facts = tuple(Fact(subject=f"f{i}", text="t") for i in range(9))
    message = compose(notification(in_thread=True, reason=Reason.RESOLVED, facts=facts))
    assert len(message.facts) == 3
    assert message.more == "and 6 more"
    assert message.trend is None
    assert slack_blocks(message)[0]["type"] == "section"


def test_three_hundred_features_are_ten_and_a_number() -> None:
    message = compose(everywhere("x"))
    assert len(message.facts) == 10
    assert message.more == "and 290 more"
    assert len(compose(notification(reason=Reason.DIGEST, facts=everywhere("x").facts)).facts) == 40


def test_a_message_that_may_have_arrived_before_says_so() -> None:
    assert "may be a repeat" in text(compose(notification(possible_duplicate=True)))
    assert "may be a repeat" not in text(compose(notification()))


def test_without_a_label_the_window_is_given_in_utc() -> None:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("America/New_York")
    start, end = datetime(2013, 4, 23, tzinfo=zone), datetime(2013, 4, 24, tzinfo=zone)
    message = compose(notification(window_label="", window_start=start, window_end=end))
    assert message.window == "2013-04-23 04:00 to 2013-04-24 04:00 UTC"


def test_no_name_becomes_markup_in_html() -> None:
    ordinary, page = Tags(html(compose(notification()))), Tags(html(compose(everywhere(EVIL))))
    assert page.tags - ordinary.tags <= {"span"}
    assert "script" not in page.tags
    assert {name for name, _ in page.attributes} <= {name for name, _ in ordinary.attributes}
    links = [value for name, value in page.attributes if name == "href"]
    assert links
    assert all(link.startswith("https://example.org/") for link in links)
    assert TAME in Tags(html(compose(everywhere(TAME)))).words


def test_no_name_becomes_a_mention_a_link_or_code_in_slack() -> None:
    shown = " ".join(strings(slack_blocks(compose(everywhere(EVIL)))))
    tags = re.findall(r"<[^>]*>", shown)
    assert tags
    assert all(tag.startswith("<https://example.org/") for tag in tags)
    assert "<!" not in slack_text(EVIL, 500)
    assert "`code`" not in shown


def test_no_name_starts_a_line_of_its_own_or_hides_letters() -> None:
    for medium in (text(compose(everywhere(EVIL))), html(compose(everywhere(EVIL)))):
        assert "\nnew line" not in medium
        assert not set(medium) & set("\u202e\u200b\x00\r")
    assert "\n" not in compose(everywhere(EVIL)).subject


@settings(max_examples=50, deadline=None)
@given(value=st.text(max_size=60).map(lambda t: t * 40) | st.sampled_from(["<" * 5000, "&" * 5000, "\u0301" * 5000]))
def test_slack_blocks_keep_the_limits_of_slack(value: str) -> None:
    blocks = slack_blocks(compose(everywhere(value, facts=40)))
    assert 0 < len(blocks) <= MOST_BLOCKS
    for block in blocks:
        limit = HEADER if block["type"] == "header" else SECTION
        for said in strings(block):
            assert 0 < len(said) <= limit
            assert not re.search(r"&(?!amp;|lt;|gt;)", said)  # no escape is cut in half


@settings(max_examples=50, deadline=None)
@given(value=st.text(max_size=200), limit=st.integers(min_value=1, max_value=80))
def test_plain_texts_are_one_printable_line_within_the_limit(value: str, limit: int) -> None:
    cleaned = plain(value, limit)
    assert len(cleaned) <= limit
    assert cleaned.splitlines() in ([], [cleaned])
    assert plain(cleaned, limit) == cleaned


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=60))
def test_a_sparkline_has_one_block_for_each_value(values: list[float | None]) -> None:
    line = sparkline(values, width=40)
    assert len(line) == min(len(values), 40)
    assert set(line) <= set("▁▂▃▄▅▆▇█·")


def test_a_notification_survives_being_stored() -> None:
    told = notification(severity=Severity.WARNING)
    assert from_json(to_json(told)) == told
    assert from_json({**to_json(told), "a_field_of_a_newer_version": 1}) == told
