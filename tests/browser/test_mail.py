"""Rules of messages as people see them: a mail in a real browser, Slack's blocks by the models of its own library."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page
from slack_sdk.models.blocks import Block

from monitor import charts
from monitor.blocks import slack_blocks
from monitor.message import compose, html
from monitor.notification import Fact, Notification, Reason
from tests.browser.conftest import violations
from tests.browser.occasions import HOSTILE
from tests.peers import notification


def drifting(features: int, name: str = "feature") -> Notification:
    """A message about that many features."""
    facts = tuple(
        Fact(subject=f"{name} {place}", text="moved by 1.5 sd", value=1.5, threshold=0.2) for place in range(features)
    )
    return notification(facts=facts)


def hostile(name: str) -> Notification:
    """A message in which every text is what an attacker would write."""
    return replace(
        drifting(3, name), model=name, title=name, summary=name, cost=name, next_step=name, note=name, window_label=name
    )


CASES = {
    "one feature": drifting(1),
    "three hundred features": drifting(300),
    **{name: hostile(text) for name, text in HOSTILE.items()},
}


@pytest.fixture(scope="module")
def picture() -> str:
    """The chart of the message as mail has it, as an address."""
    chart = notification().chart
    assert chart is not None
    with ThreadPoolExecutor(1) as elsewhere:  # the browser has the event loop of this thread
        drawn = elsewhere.submit(asyncio.run, charts.picture(chart, seconds=60)).result()
    return "data:image/png;base64," + base64.b64encode(drawn).decode()


@pytest.fixture
def reader(browser: Browser) -> Iterator[Page]:
    """A page in which a mail is opened."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_a_mail_looks_right_light_and_dark_at_a_desk_and_on_a_phone_whatever_is_in_it(
    picture: str, reader: Page
) -> None:
    found = {}
    for name, told in CASES.items():
        reader.set_content(html(compose(told), picture=picture))
        assert reader.title() != "taken", name
        assert reader.evaluate("document.images[0].naturalWidth") > 0, name
        assert reader.locator("script").count() == 0, name
        assert reader.locator("img").count() == 1, name
        if wrong := violations(reader):
            found[name] = wrong
    assert found == {}


def test_three_hundred_features_are_ten_and_a_number(reader: Page) -> None:
    reader.set_content(html(compose(drifting(300))))
    assert reader.get_by_text("feature 9").is_visible()
    assert reader.get_by_text("and 290 more").is_visible()
    assert reader.get_by_text("feature 10").count() == 0


@pytest.mark.parametrize("reason", list(Reason))
def test_slack_takes_every_kind_of_message_whatever_is_in_it(reason: Reason) -> None:
    for name, told in CASES.items():
        blocks = slack_blocks(compose(replace(told, reason=reason)))
        parsed = Block.parse_all(blocks)
        assert len(parsed) == len(blocks), name
        for block in parsed:
            block.validate_json()
        written = str(blocks)
        for called in ("<!channel>", "<@U024BE7LH>", "\u202e"):
            assert called not in written, name
