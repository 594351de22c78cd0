"""A real Chromium, a page that it is led to, and a watched model in trouble for it to find."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from monitor import web
from monitor.embedded import Database
from monitor.health import Health
from monitor.installation import Installation
from tests.browser.trouble import NOW, OPERATOR, installed

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
#: What Chromium must be told where it runs as root and without a screen.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
SIZES: dict[str, Any] = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Every test here needs a browser."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.needs("chromium"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; while it runs, nobody else may run an event loop in this thread, so no longer than a module."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def installation(tmp_path: Path, database: Database) -> Iterator[Installation]:
    with installed(tmp_path, database) as made:
        yield made


@pytest.fixture
def address(installation: Installation) -> Iterator[str]:
    """Where the page is."""
    serving = web.serve(web.create_app(installation, clock=lambda: NOW, health=Health), ("127.0.0.1", 0))
    yield serving.url
    serving.stop()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Page]:
    """An operator's page in the browser, signed in and at the front; what a console complains of fails the test."""
    context = browser.new_context(base_url=address, viewport=SIZES["desk"])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in(page, OPERATOR)
    yield page
    context.close()
    assert complaints == []


def sign_in(page: Page, token: str) -> None:
    """Sign in on the form, as people do."""
    page.goto("/")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Sign out").wait_for()


def violations(page: Page) -> dict[str, list[str]]:
    """What axe finds wrong with a page, by size and scheme (of which only colours depend); also what is too wide."""
    found: dict[str, list[str]] = {}
    page.evaluate(AXE)
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            options = {"resultTypes": ["violations"], **({"runOnly": ["color-contrast"]} if scheme == "dark" else {})}
            wrong = [
                f"{one['id']}: {one['help']} at {node['target']} ({(node.get('failureSummary') or '')[:300]})"
                for one in page.evaluate("options => axe.run(options)", options)["violations"]
                for node in one["nodes"][:3]
            ]
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            wrong += [f"{beyond} pixels are beyond the edge"] if beyond > 0 else []
            found |= {f"{size}, {scheme}": wrong} if wrong else {}
    return found
