"""Five questions of a tired person, each answered within three clicks from the front page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.trouble import MODEL, QUIET

MOST_CLICKS = 3


class Person:
    """Somebody who begins at the front page and follows links, and whose clicks are counted."""

    def __init__(self, page: Page) -> None:
        page.goto("/")
        self.page = page
        self.clicks = 0

    def follow(self, name: str, *, within: str = "body") -> None:
        """Click on the first link of that name."""
        self.clicks += 1
        assert self.clicks <= MOST_CLICKS
        self.page.locator(within).get_by_role("link", name=name).first.click()
        self.page.wait_for_load_state()

    def reads(self, text: str) -> bool:
        """Whether a text can be seen on the page."""
        return self.page.get_by_text(text).first.is_visible()

    def card(self, model: str) -> str:
        """What the front page says of a model."""
        return self.page.locator("section", has=self.page.get_by_role("link", name=model, exact=True)).inner_text()


@pytest.fixture
def person(visit: Page) -> Person:
    return Person(visit)


def test_what_broke_last_night(person: Person) -> None:
    assert "temp and dewp changed at once: °F → °C" in person.card(MODEL)
    person.follow("temp and dewp changed at once")
    assert person.reads("Sat 19 Oct 2013"), "the window that opened it"
    follows = person.page.get_by_role("link", name="Late more often than predicted")
    assert follows.is_visible(), "and what comes of it"


def test_which_upstream_is_to_blame(person: Person) -> None:
    person.follow("temp and dewp changed at once")
    cause = person.page.locator("dt", has_text="Cause").locator("xpath=following-sibling::dd")
    assert cause.inner_text() == "data"
    for column in ("temp", "dewp"):
        assert person.page.get_by_role("row", name=column).get_by_text("°F → °C").is_visible()
    person.follow("dewp")
    assert person.page.get_by_role("heading", name="dewp").is_visible()


def test_is_it_costing_money(person: Person) -> None:
    assert "Cost per day, above training" in person.card(MODEL)
    person.follow("temp and dewp changed at once")
    money = person.page.locator("dt", has_text="Money").locator("xpath=following-sibling::dd")
    assert money.inner_text() == "+USD 1,240"


def test_may_i_retrain(person: Person) -> None:
    assert "not yet: look into the data first" in person.card(MODEL)
    assert "nothing speaks for it" in person.card(QUIET)
    person.follow("why")
    assert person.reads("Do not retrain on rows since then")


def test_was_it_quiet_because_it_was_blind(person: Person) -> None:
    assert "yes, all of the last 10 windows were judged" in person.card(MODEL)
    assert "No open alert" in person.card(QUIET)
    assert "2 of the last 10 windows could not be judged" in person.card(QUIET)
    person.follow("which")
    assert person.page.get_by_role("row", name="Mon 21 Oct 2013").is_visible()
