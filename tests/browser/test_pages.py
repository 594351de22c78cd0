"""Rules of the pages in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import FloatRect, Page

from monitor.history import select_readonly
from monitor.installation import Installation
from tests.browser.conftest import SIZES, violations
from tests.browser.trouble import ADVICE, KEY, MODEL

TALLEST = 2400  # pixels of a picture; what follows in a long page looks like that
PAGES = {
    "front": "/",
    "model": f"/models/{MODEL}",
    "feature": f"/models/{MODEL}/features/temp",
    "runs": f"/models/{MODEL}/runs",
    "alert": f"/alerts/{KEY}",
    "advice": f"/recommendations/{ADVICE}",
    "circuit": f"/models/{MODEL}/circuit",
    "trace": f"/models/{MODEL}/trace?id=r-1",
    "runbook": "/runbook",
    "login": "/login",
}


def test_axe_finds_nothing_on_any_page_light_or_dark_at_a_desk_or_on_a_phone(
    visit: Page, pytestconfig: pytest.Config
) -> None:
    folder, found = pytestconfig.getoption("--pictures"), {}
    for name, path in PAGES.items():
        answer = visit.goto(path)
        assert answer is not None
        assert answer.status == 200, name
        if folder:
            visit.set_viewport_size(SIZES["desk"])
            visit.emulate_media(color_scheme="light")
            height = min(visit.evaluate("document.documentElement.scrollHeight"), TALLEST)
            clip: FloatRect = {"x": 0, "y": 0, "width": SIZES["desk"]["width"], "height": height}
            visit.screenshot(path=Path(folder) / f"{name}.png", full_page=True, clip=clip)
        if wrong := violations(visit):
            found[name] = wrong
    assert found == {}


#: Of pages whose figures come from the store; a request is read from the logs, as `monitor trace` does.
FIGURES = "main .wide:has(svg, table), main dl"
BELOW = """figures => figures.map(one => {
    const below = one.nextElementSibling;
    return {what: one.textContent.trim().slice(0, 60), sql: below?.matches("details.sql") ? below.innerText : null};
})"""


@pytest.mark.parametrize("name", ["front", "model", "feature", "runs", "alert", "advice", "circuit"])
def test_below_every_figure_stands_the_sql_that_gives_it(visit: Page, installation: Installation, name: str) -> None:
    visit.goto(PAGES[name])
    for summary in visit.locator("details.sql summary").all():
        summary.click()
    figures = visit.locator(FIGURES).evaluate_all(BELOW)
    assert figures
    assert [one["what"] for one in figures if one["sql"] is None] == []
    for statement in {one["sql"].removeprefix("SQL").strip() for one in figures}:
        with installation.engine.connect() as conn:
            assert select_readonly(conn, statement).rows or "profile_metrics" in statement, statement


def test_an_alert_leads_to_the_section_of_the_runbook_about_its_family(visit: Page) -> None:
    visit.goto(f"/alerts/{KEY}")
    visit.get_by_role("link", name="runbook, quality:weather").click()
    visit.wait_for_url("**/runbook#*")
    place = visit.evaluate("document.querySelector(':target').getBoundingClientRect().top")
    assert -1 < place < SIZES["desk"]["height"]


def test_a_person_goes_from_the_alert_s_link_to_the_feature_s_plot_and_takes_the_alert_on(visit: Page) -> None:
    visit.goto(f"/alerts/{KEY}")
    visit.get_by_role("link", name="temp", exact=True).click()
    drawn = visit.locator("svg.chart[aria-label^='Shift of temp']")
    assert drawn.bounding_box() is not None
    assert visit.get_by_text("temp looks like °F → °C").count() > 0
    visit.go_back()
    visit.get_by_role("button", name="Acknowledge").click()
    visit.locator("dd", has_text="alice, 22 Oct 2013").wait_for()
    assert visit.get_by_role("button", name="Acknowledge").count() == 0


def test_a_person_goes_from_a_recommendation_to_its_approval(visit: Page) -> None:
    visit.goto("/")
    visit.get_by_role("link", name="INVESTIGATE DATA").click()
    assert visit.get_by_text("Do not retrain on rows since then").is_visible()
    assert visit.get_by_role("cell", name="roc_auc").is_visible()
    visit.get_by_role("button", name="Approve").click()
    visit.get_by_text("approved by alice").wait_for()


def test_an_alert_is_silenced_with_a_reason_that_others_see(visit: Page) -> None:
    visit.goto(f"/alerts/{KEY}")
    visit.get_by_label("because").fill("the feed is being mended")
    visit.get_by_role("button", name="Silence").click()
    visit.get_by_text("says alice: the feed is being mended").wait_for()


def test_a_model_is_taken_out_of_service_and_answers_again(visit: Page) -> None:
    visit.goto(f"/models/{MODEL}")
    visit.get_by_role("link", name="circuit").click()
    assert visit.get_by_text("the feed is mended").is_visible(), "what was done before is there"
    visit.get_by_label("Take it out of service, because").fill("wrong unit")
    visit.get_by_role("button", name="Open the circuit").click()
    visit.get_by_text("does not answer").wait_for()
    visit.get_by_label("Let the model answer again, because").fill("mended")
    visit.get_by_role("button", name="Close the circuit").click()
    visit.get_by_text(f"{MODEL} answers.").wait_for()


def test_a_request_is_followed_to_the_alert_that_stood(visit: Page) -> None:
    visit.goto(f"/models/{MODEL}")
    visit.get_by_role("link", name="one request").click()
    visit.get_by_label("Id, as it was logged").fill("r-1")
    visit.get_by_role("button", name="Follow it").click()
    visit.get_by_role("heading", name="Prediction of the champion").wait_for()
    assert visit.get_by_text("12.5", exact=True).is_visible()
    visit.goto(f"/models/{MODEL}/trace?id=nobody")
    assert visit.get_by_text("No row with this id").is_visible()
