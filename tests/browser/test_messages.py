"""Rules of every kind of message, as it was brought about on a database: as mail in Chromium, and for Slack."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, Page
from slack_sdk.models.blocks import Block

from monitor.blocks import slack_blocks
from monitor.embedded import Database
from monitor.message import compose, html, text
from monitor.notification import Notification, Reason
from tests.browser.conftest import SCHEMES, SIZES, violations
from tests.browser.occasions import HOSTILE, features, told

DOCS = Path(__file__).parents[2] / "docs"
Heard = Mapping[Reason, Notification]
CASES: dict[str, tuple[Sequence[str], str]] = {
    "one column": (features(1), "the feed moves"),
    "three hundred columns": (features(300), "the feed moves"),
    **{name: ([said, f"{said} 2"], said) for name, said in HOSTILE.items()},
}


@pytest.fixture
def heard(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> Iterator[Heard]:
    """Every kind of message of one case."""
    columns, said = CASES[request.param]
    with told(tmp_path, database, columns, said) as found:
        yield found


@pytest.fixture
def reader(browser: Browser) -> Iterator[Page]:
    """A page in which mails are opened."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def previews() -> ModuleType:
    """docs/message_previews.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("message_previews", DOCS / "message_previews.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faults_of(page: Page) -> list[str]:
    """What an attacker got through, and what is beyond the edge on a desk or a phone, light and dark."""
    found = [] if page.title() != "taken" else ["a script ran"]
    found += ["there is a script"] if page.locator("script").count() else []
    found += ["there is a foreign picture"] if page.locator("img").count() else []
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            found += [f"{beyond} pixels are beyond the edge, {size}, {scheme}"] if beyond > 0 else []
    return found


@pytest.mark.parametrize("heard", CASES, indirect=True)
def test_every_kind_of_message_is_told_and_looks_right_as_mail_and_for_slack(heard: Heard, reader: Page) -> None:
    assert set(heard) == set(Reason)
    wrong: dict[Reason, object] = {}
    for reason, one in heard.items():
        message = compose(one)
        reader.set_content(html(message))
        if found := faults_of(reader):
            wrong[reason] = found
        blocks = slack_blocks(message)
        parsed = Block.parse_all(blocks)
        assert len(parsed) == len(blocks), reason
        for block in parsed:
            block.validate_json()
        for called in ("<!channel>", "<@U024BE7LH>", "\u202e"):
            assert called not in str(blocks), reason
    assert wrong == {}


@pytest.mark.parametrize("heard", ["one column"], indirect=True)
def test_everybody_can_read_every_kind_of_mail_light_and_dark(heard: Heard, reader: Page) -> None:
    found = {}
    for reason, one in heard.items():
        reader.set_content(html(compose(one)))
        if wrong := violations(reader):
            found[reason] = wrong
    assert found == {}


@pytest.mark.parametrize("heard", ["one column"], indirect=True)
def test_what_an_alert_tells_leads_to_its_page_its_report_and_its_section_of_the_runbook(heard: Heard) -> None:
    links = {reason: list(one.links) for reason, one in heard.items()}
    deeds = ["Open", "Report", "Runbook", "Acknowledge", "Silence a day"]
    opening = (Reason.FIRST, Reason.REOPENED, Reason.ESCALATED, Reason.REPEATED, Reason.UNANSWERED)
    assert {reason: links[reason] for reason in opening} == dict.fromkeys(opening, deeds)
    assert links[Reason.RESOLVED] == links[Reason.SUPERSEDED] == links[Reason.SILENCE] == ["Open", "Runbook"]
    assert heard[Reason.FIRST].links["Runbook"] == "https://monitor.example.org/runbook#quality"
    assert heard[Reason.RECOMMENDATION].links["Runbook"] == "https://monitor.example.org/runbook#what-is-advised"
    assert heard[Reason.DIGEST].links["Open"] == "https://monitor.example.org/models/flight-delay"


@pytest.mark.parametrize("heard", ["one column"], indirect=True)
def test_the_previews_are_of_every_kind_and_show_what_is_told_now(heard: Heard) -> None:
    module = previews()
    listed = (DOCS / "messages" / "README.md").read_text(encoding="utf-8")
    old = []
    for reason, one in heard.items():
        for name in (f"{reason}-light.png", f"{reason}-dark.png", f"{reason}.slack.json", f"{reason}.txt"):
            assert (DOCS / "messages" / name).stat().st_size > 0
            assert f"({name})" in listed
        written = (DOCS / "messages" / f"{reason}.txt").read_text(encoding="utf-8")
        of_demo = f"({reason}.txt)" in "".join(line for line in listed.splitlines() if "| demo |" in line)
        old += [] if of_demo or written == module.steady(text(compose(one))) else [reason]
    assert old == [], "run `python docs/message_previews.py docs/messages .demo/monitor.yaml`"
