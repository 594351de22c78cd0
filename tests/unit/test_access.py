"""Rules of tokens: who has one is who they say, nothing else gets in, and a sentence says what is wrong with a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from monitor.access import Person, Role, Tokens, TokensError, read_tokens

ALICE = Person(name="alice@example.org", role=Role.OPERATOR)
GRAFANA = Person(name="grafana", role=Role.VIEWER)
TOKENS = Tokens(people=((ALICE, SecretStr("a" * 32)), (GRAFANA, SecretStr("b" * 40))))
NOW = datetime(2013, 4, 25, tzinfo=UTC)
LATER = NOW + timedelta(hours=12)


def test_a_token_says_who_one_is() -> None:
    assert TOKENS.person("a" * 32) == ALICE
    assert TOKENS.person("b" * 40) == GRAFANA


@given(st.text())
def test_nothing_else_gets_in(text: str) -> None:
    assert TOKENS.person(text) is None
    assert TOKENS.resume(text, now=NOW) is None


def test_a_viewer_may_not_do_what_an_operator_may() -> None:
    assert ALICE.may(Role.OPERATOR)
    assert ALICE.may(Role.VIEWER)
    assert GRAFANA.may(Role.VIEWER)
    assert not GRAFANA.may(Role.OPERATOR)


def test_a_session_ends_by_time_with_its_token_and_by_any_change() -> None:
    cookie = TOKENS.begin(ALICE, until=LATER)
    assert "a" * 8 not in cookie, "it holds no token"
    assert TOKENS.resume(cookie, now=NOW) == ALICE
    assert TOKENS.resume(cookie, now=LATER) is None
    for position in range(len(cookie)):
        changed = cookie[:position] + chr(ord(cookie[position]) ^ 1) + cookie[position + 1 :]
        assert TOKENS.resume(changed, now=NOW) is None
    changed_token = Tokens(people=((ALICE, SecretStr("c" * 32)), TOKENS.people[1]))
    assert changed_token.resume(cookie, now=NOW) is None
    demoted = Tokens(people=((Person(name=ALICE.name, role=Role.VIEWER), SecretStr("a" * 32)),))
    resumed = demoted.resume(cookie, now=NOW)
    assert resumed is not None
    assert resumed.role is Role.VIEWER, "the role is the file's, not the cookie's"


def test_no_token_is_shown_by_accident() -> None:
    assert "a" * 8 not in repr(TOKENS)
    assert [secret.get_secret_value() for secret in TOKENS.secrets()] == ["a" * 32, "b" * 40]


def test_a_file_has_a_line_for_each_with_comments(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# us\nalice@example.org operator {'a' * 32}\n\ngrafana  viewer\t{'b' * 40}  # the dashboards\n")
    assert read_tokens(file) == TOKENS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice operator", "needs name, role and token in line 1 of "),
        ("alice operator x y", "needs name, role and token in line 1 of "),
        (f"a;b operator {'a' * 32}", "needs a name of letters"),
        (f"\nalice admin {'a' * 32}", "has no valid role in line 2 of "),
        ("alice operator hunter2", "has a token of fewer than 32 characters in line 1 of "),
        (f"a viewer {'a' * 32}\nb viewer {'a' * 32}", "for the second time in line 2"),
        (f"a viewer {'a' * 32}\na viewer {'b' * 32}", "for the second time in line 2"),
        ("# nobody\n", "which names nobody"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_sentence_without_a_token(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(TokensError, match=said) as told:
        read_tokens(file)
    for secret in ("a" * 8, "b" * 8, "hunter2"):
        assert secret not in str(told.value)
    with pytest.raises(TokensError, match=r"cannot be read from .* \(No such file"):
        read_tokens(tmp_path / "none")
