"""Rules of the daemon's log: one event a line, with the same keys always, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor import journal
from monitor.config import load
from monitor.journal import Form

SECRET = "canary-secret"
log = logging.getLogger("monitor.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in journal.TALKATIVE}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    logging.captureWarnings(False)


def written(form: Form, *secrets: str | SecretStr) -> io.StringIO:
    stream = io.StringIO()
    journal.begin(secrets=secrets, stream=stream, form=form)
    return stream


def test_an_event_is_one_json_object_with_what_came_with_it() -> None:
    stream = written(Form.JSON)
    log.info("judged %s\nrows", 912, extra={"model": "m", "window": "2013-04-22", "time": "clash"})
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert list(event) == ["time", "level", "logger", "message", "model", "window", "time_"]
    assert (event["level"], event["message"], event["time_"]) == ("info", "judged 912\nrows", "clash")


def test_a_person_reads_text_with_the_traceback_below() -> None:
    stream = written(Form.TEXT)
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("a run failed", extra={"model": "m"})
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("error: a run failed  model=m")
    assert rest[-1] == "ValueError: broken"


@pytest.mark.parametrize("form", list(Form))
def test_a_secret_is_blanked_wherever_it_stands(form: Form) -> None:
    hook = f"https://hooks.slack.com/services/{SECRET}"
    stream = written(form, hook, SecretStr("postgresql://me:hunter%2F22@db/x"), "tick")
    try:
        raise ValueError(f"POST /services/{SECRET} to {hook} as hunter/22 or hunter%2F22")
    except ValueError:
        log.exception("asked %s", hook, extra={"address": {hook: [hook, hook.encode()]}, "key": SecretStr("x")})
    text = stream.getvalue()
    assert journal.HIDDEN in text
    for secret in (SECRET, "hunter/22", "hunter%2F22"):
        assert secret not in text


def test_short_secrets_and_names_of_ours_blank_nothing() -> None:
    stream = written(Form.TEXT, "a", "store", "embedded")
    log.info("a store, embedded")
    assert stream.getvalue().endswith("a store, embedded\n")


def test_every_secret_of_a_configuration_is_found(tmp_path: Path) -> None:
    file = tmp_path / "monitor.yaml"
    file.write_text(f"channels: {{ops: {{type: slack, webhook_url: 'https://hooks.slack.com/services/{SECRET}'}}}}")
    found = {secret.get_secret_value() for secret in journal.secrets_of(load(file, {}))}
    assert found == {"embedded", f"https://hooks.slack.com/services/{SECRET}"}


def test_beginning_again_takes_the_place_of_the_first_time() -> None:
    first, second = written(Form.TEXT), written(Form.TEXT)
    log.info("once")
    assert "once" not in first.getvalue()
    assert second.getvalue().count("once") == 1


def test_libraries_that_log_every_request_are_quiet() -> None:
    stream = written(Form.TEXT)
    logging.getLogger("httpx").info("HTTP Request: POST https://hooks.slack.com/services/x")
    logging.getLogger("apscheduler.executors").info("Running job")
    assert stream.getvalue() == ""
