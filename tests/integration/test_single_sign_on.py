"""Rules of single sign-on by a proxy's header: believed from the proxy alone, and never for what a program may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from monitor.config import ConfigError
from monitor.embedded import Database
from monitor.installation import Installation, load_config
from tests.integration.test_entrance import OPERATOR, VIEWER, bearer, build, form_key, served
from tests.integration.test_web import CONFIG, KEY

__all__ = ["build"]  # a fixture

SETTINGS = "tokens_file: tokens, proxy_header: X-Who, proxy_operators: [alice], proxy_addresses: "
ALICE, BOB = {"X-Who": "alice"}, {"X-Who": "bob@example.org"}


@pytest.fixture
def client(build: Callable[..., Installation]) -> Iterator[httpx.Client]:
    with served(build(f"{SETTINGS}[127.0.0.0/8]")) as client:
        yield client


def test_the_proxy_s_people_are_viewers_and_those_named_operators(client: httpx.Client) -> None:
    assert client.get("/").status_code == 303, "nobody was named"
    page = client.get(f"/alerts/{KEY}", headers=BOB)
    assert "bob@example.org</bdi>, viewer" in page.text
    assert f'action="/alerts/{KEY}/acknowledge"' not in page.text
    page = client.get(f"/alerts/{KEY}", headers=ALICE)
    assert "alice</bdi>, operator" in page.text
    assert "Sign out" not in page.text, "that is the proxy's affair"
    action = f"/alerts/{KEY}/acknowledge"
    assert client.post(action, headers=BOB, data={"_csrf_token": form_key(page)}).status_code == 403
    assert client.post(action, headers=ALICE).status_code == 403, "a form of another site"
    assert client.post(action, headers=ALICE, data={"_csrf_token": form_key(page)}).status_code == 303
    assert "<bdi>alice</bdi>, " in client.get(f"/alerts/{KEY}", headers=BOB).text


def test_a_program_s_deed_needs_a_token_whoever_the_proxy_names(client: httpx.Client) -> None:
    path = f"/api/v1/alerts/{KEY}/acknowledge"
    assert client.post(path, headers=ALICE).status_code == 401
    assert client.post(path, headers={**ALICE, **bearer(VIEWER)}).status_code == 403, "the token is who it is"
    assert client.post(path, headers=bearer(OPERATOR)).status_code == 200


def test_a_header_from_elsewhere_is_refused_whatever_it_says_of_where_it_came_from(
    build: Callable[..., Installation],
) -> None:
    with served(build(f"{SETTINGS}[10.0.0.7]")) as client:
        for more in ({}, {"X-Forwarded-For": "10.0.0.7"}, {"Forwarded": "for=10.0.0.7"}):
            answer = client.get("/", headers={**ALICE, **more})
            assert answer.status_code == 403
            assert "none of web.proxy_addresses" in answer.text
        assert client.get("/", headers=bearer(VIEWER)).status_code == 200


@pytest.mark.parametrize("named", [[("X-Who", "bob"), ("X-Who", "alice")], [("X-Who", "a b")], [("X-Who", "<b>")]])
def test_a_header_that_does_not_name_one_person_is_refused(client: httpx.Client, named: list[tuple[str, str]]) -> None:
    assert client.get("/", headers=named).status_code == 403


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("tokens_file: tokens, proxy_header: X-Who", "proxy_addresses is needed by proxy_header"),
        ("proxy_header: X-Who, proxy_addresses: [10.0.0.7]", "tokens_file is needed by proxy_header"),
        ("tokens_file: tokens, proxy_addresses: [10.0.0.7]", "proxy_header is needed by proxy_addresses"),
        ("tokens_file: tokens, proxy_header: X-Who, proxy_addresses: [proxy]", "must be addresses or networks"),
        ("tokens_file: tokens, proxy_header: Cookie, proxy_addresses: [10.0.0.7]", "is no name of a header"),
    ],
)
def test_half_a_sign_on_is_refused_with_what_is_missing(
    tmp_path: Path, database: Database, settings: str, said: str
) -> None:
    (tmp_path / "tokens").write_text(f"alice operator {OPERATOR}\n")
    file = tmp_path / "monitor.yaml"
    file.write_text(CONFIG.format(url=database.url) + f"web: {{{settings}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert said in str(caught.value)
