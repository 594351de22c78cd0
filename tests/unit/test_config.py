"""The configuration: what is accepted, what it means, and what people read when it is wrong."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import Config, ConfigError, config_hash, inactive_parts, json_schema, load, nearest, remarks
from monitor.consistency import typed_options
from monitor.duration import format_duration, parse_duration
from monitor.manual import configuration_page
from monitor.settings import EmailChannel
from monitor.window import CalendarUnit, WindowSpec

ENVIRON = {"SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/canary-secret"}
SECRET = "canary-secret"

COMPLETE = """
store:
  url: "${MONITOR_STORE_URL:-embedded}"
  migrator_url: "${MONITOR_MIGRATOR_URL:-}"
models:
  late:
    active: {from: 2013-03-01, until: 2014-01-01}
    business:
      automates: rebooking
      manual_process: agents rebook
      good_enough: {metric: cost_per_prediction, at_most: 2.9}
      currency: USD
      costs: {false_positive: 7, false_negative: 13}
      fallback_cost: 3.01
      consequences: full fare
    source:
      url: "${MONITOR_SOURCE_URL:-store}"
      table: serving.predictions
      time: occurred_at
      logged_at: logged_at
      id: request_id
      version: model_version
      role: deployment_role
      features:
        temp: numeric
        dewp: {type: numeric}
        age: {json: features.age, type: numeric}
        origin: {column: o, type: text}
      prediction: {score: p_late, label: said_late, threshold: 0.35}
      outcome: {table: serving.outcomes, id: request_id, label: was_late, time: observed_at, matures_after: 2d}
      upstreams: {weather: [temp, dewp]}
      slices: [origin, [carrier, origin]]
      limits: {max_readers: 2, statement_timeout: 5m, replica_url: null, sample: null}
    window: {calendar: day, timezone: America/New_York}
    every: null
    lag: 15m
    lateness: 48h
    catch_up: all
    max_catch_up: 7d
    holidays: [US, NO, 2013-12-24]
    false_alerts_per_month: 0.5
    checks:
      drift: {materiality: 0.05, notify: digest, thresholds: {psi: 0.25, temp: {wasserstein: 0.3}}}
      fairness: {slices: [carrier], metrics: [tpr, fpr], tolerance: 0.1}
      sudden: false
      quality:
    serving:
      process: {pid_file: run/serve.pid}
      every: 60s
      endpoint: {url: "http://127.0.0.1:8080/v2/models/m/infer", protocol: v2}
    circuit: {automatic: false, open_on: [quality.critical], fallback: {p_late: 0.2}}
    retraining: {cost: 300, max_age: 180d, approval: human, webhook: "${RETRAIN_URL:-}"}
    release: {approval: human, webhook: "${RELEASE_URL:-}"}
channels:
  ops: {type: slack, webhook_url: "${SLACK_WEBHOOK_URL}"}
  team:
    type: email
    host: smtp.example.org
    port: 587
    security: starttls
    username: monitor
    password_file: secrets/smtp
    sender: monitor@example.org
    recipients: [team@example.org]
routes:
  - {match: {severity: critical}, to: [ops, team]}
  - {match: {}, to: [team], quiet_hours: {timezone: Europe/Berlin, from: 20:00, to: "08:00"}}
alerts:
  {k: 2, n: 3, recover: 3, repeat: {critical: 24h}, escalate: {after: 4h, to: [ops]}, digest: {every: week, to: [team]}}
web: {listen: "127.0.0.1:8080", base_url: null, tokens_file: null, proxy_header: null}
deadman: {url: null}
retention: {tiles: 400d, findings: 3y, samples: 90d, logs: 90d, reports: 90d}
security: {allow_private_addresses: false}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "smtp").write_text(f"{SECRET}\n")
    return tmp_path


def read(folder: Path, text: str, environ: Mapping[str, str] = ENVIRON, **registered: Any) -> Config:
    file = folder / "monitor.yaml"
    file.write_text(text)
    return load(file, environ, **registered)


def changed(*place: str | int, to: Any = ..., drop: bool = False) -> str:
    """Return the complete configuration with one value replaced, added or dropped."""
    tree = yaml.load(COMPLETE.replace("20:00", '"20:00"').replace(" NO,", ' "NO",'), yaml.SafeLoader)
    node = tree
    for part in place[:-1]:
        node = node[part]
    if drop:
        del node[place[-1]]
    else:
        node[place[-1]] = to
    return yaml.safe_dump(tree, sort_keys=False)


def complaint(folder: Path, text: str, environ: Mapping[str, str] = ENVIRON, **registered: Any) -> str:
    """Return the only sentence by which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ, **registered)
    assert len(caught.value.problems) == 1, caught.value.problems
    (sentence,) = caught.value.problems
    assert SECRET not in sentence
    assert re.match(rf"{re.escape(str(folder))}/monitor\.yaml(, line \d+)?: ", sentence), sentence
    assert sentence[-1] in ".?"
    return sentence.removeprefix(f"{folder}/monitor.yaml")


def test_everything_that_the_contract_lists_is_read(folder: Path) -> None:
    config = read(folder, COMPLETE)
    model = config.models["late"]
    assert model.window_spec() == WindowSpec(calendar=CalendarUnit.DAY, timezone="America/New_York")
    assert model.lateness == timedelta(hours=48)
    assert model.holidays == ("US", "NO", "2013-12-24")
    zone = ZoneInfo("America/New_York")
    assert model.active_bounds() == (datetime(2013, 3, 1, tzinfo=zone), datetime(2014, 1, 1, tzinfo=zone))
    assert not isinstance(model.source.features, str)
    assert {name: feature.place for name, feature in model.source.features.items()} == {
        "temp": "temp",
        "dewp": "dewp",
        "age": "features.age",
        "origin": "o",
    }
    assert model.source.slices == (("origin",), ("carrier", "origin"), ("carrier",))  # fairness names the last one
    assert (model.is_enabled("sudden"), model.is_enabled("quality"), model.is_enabled("resource")) == (
        False,
        True,
        True,
    )
    assert model.options("fairness") == {"slices": ["carrier"], "metrics": ["tpr", "fpr"], "tolerance": 0.1}
    assert model.serving is not None
    assert model.serving.process is not None
    assert model.serving.process.pid_file == folder / "run/serve.pid"
    assert model.retraining.webhook is None
    assert config.store.url.get_secret_value() == "embedded"
    team = config.channels["team"]
    assert isinstance(team, EmailChannel)
    assert team.password is not None
    assert team.password.get_secret_value() == SECRET
    assert team.options()["recipients"] == ("team@example.org",)
    assert config.routes[1].quiet_hours is not None
    assert config.routes[1].quiet_hours.start == "20:00"
    assert config.retention.findings == timedelta(days=1095)
    assert config.folder == folder
    assert remarks(config) == []


def test_the_money_of_the_business_reaches_the_checks(folder: Path) -> None:
    money = read(folder, COMPLETE).models["late"].business.money()
    assert (money.false_positive, money.false_negative, money.fallback, money.currency) == (7, 13, 3.01, "USD")
    assert (dict(money.good_enough), money.at_most) == ({"cost_per_prediction": 2.9}, True)


def test_a_plain_configuration_needs_only_source_and_window(folder: Path) -> None:
    config = read(
        folder,
        "models: {m: {source: {table: t, time: at, id: id, prediction: {value: y}}, window: 30d, every: 1h}}",
    )
    model = config.models["m"]
    assert model.window_spec() == WindowSpec(width=timedelta(days=30), step=timedelta(hours=1))
    assert (model.lag, model.lateness) == (timedelta(minutes=15), timedelta(hours=48))
    assert model.budget().decisions_per_month == 720
    assert remarks(config) == ["No channel is configured, so alerts are only seen on the page and in SQL."]


def test_built_in_tables_need_no_names(folder: Path) -> None:
    text = """
models:
  m:
    source:
      builtin: true
      features: {age: numeric}
      prediction: {score: score}
      outcome: {label: label, matures_after: 1d}
    window: 1h
"""
    source = read(folder, text).models["m"].source
    assert (source.table, source.time, source.id) == ("monitor.prediction_log", "occurred_at", "request_id")
    assert not isinstance(source.features, str)
    assert source.features["age"].json_path == "features.age"
    assert source.outcome is not None
    assert (source.outcome.table, source.outcome.time) == ("monitor.outcome_log", "observed_at")
    beside = text.replace("builtin: true", "builtin: true\n      table: t")
    assert "source.table is given beside builtin" in complaint(folder, beside)


def test_labels_in_the_log_itself_are_joined_by_its_own_id(folder: Path) -> None:
    text = changed("models", "late", "source", "outcome", to={"label": "was_late", "matures_after": "2d"})
    outcome = read(folder, text).models["late"].source.outcome
    assert outcome is not None
    assert (outcome.table, outcome.id) == ("serving.predictions", "request_id")


MODEL = ("models", "late")
SOURCE = (*MODEL, "source")


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ((*MODEL, "lag"), "15 minutes", 'lag is "15 minutes" but must be a duration such as 15m or 2d'),
        ((*MODEL, "lag"), 15, "lag is 15 but must be a duration"),
        ((*MODEL, "lag"), None, "lag is empty but must be a duration"),
        ((*MODEL, "lga"), "15m", 'models.late.lga is not a known key; did you mean "lag"?'),
        ((*MODEL, "window"), "40d", 'window is "40d" but must be from 15m to 30d'),
        ((*MODEL, "window"), "20m", 'window is "20m" but must be a multiple of 15m'),
        ((*MODEL, "window", "calendar"), "dya", 'must be hour or day or week or month; did you mean "day"?'),
        ((*MODEL, "window", "timezone"), "America/NewYork", 'no known time zone; did you mean "America/New_York"?'),
        ((*MODEL, "every"), "1h", "every does not go with a calendar window"),
        ((*MODEL, "catch_up"), "some", 'catch_up is "some" but must be all or latest or none'),
        ((*MODEL, "holidays", 0), "UX", 'holidays[0] is "UX", which is no country whose holidays are known'),
        ((*MODEL, "holidays", 0), "DE-XX", "is no part of DE whose holidays are known; known are BB, BE, BW, BY"),
        ((*MODEL, "holidays", 0), "20131224", 'is "20131224" but must be a country such as US or a date'),
        ((*MODEL, "holidays", 0), "USA", 'holidays[0] is "USA" but must be a country such as US or a date'),
        ((*MODEL, "false_alerts_per_month"), 0, "is 0 but must be greater than 0"),
        ((*MODEL, "active", "until"), "2012-01-01", "active.until is"),
        ((*MODEL, "business", "good_enough", "metric"), "acu", 'is "acu", which is no metric; did you mean "auc"?'),
        ((*MODEL, "business", "good_enough", "metric"), "rmse", "is no metric of a binary model"),
        ((*MODEL, "business", "good_enough", "metric"), "auc", "at_most makes no sense, since a higher auc is better"),
        ((*MODEL, "business", "costs"), {"under": 1, "over": 2}, "costs does not fit a binary model"),
        ((*MODEL, "business", "costs"), {"false_positive": 1}, "costs needs false_positive and false_negative"),
        ((*MODEL, "business", "currency"), "dollars", "must be an ISO 4217 code"),
        ((*SOURCE, "prediction", "threshold"), 35, "threshold is 35 but must be less than 1"),
        ((*SOURCE, "prediction"), {"threshold": 0.5, "label": "l"}, "threshold needs score"),
        ((*SOURCE, "prediction"), {}, "prediction names no column; give score and label, or value, or scores"),
        ((*SOURCE, "prediction"), {"score": "s", "value": "v"}, "value is given beside score"),
        ((*SOURCE, "outcome"), {"table": "o", "label": "l", "matures_after": "1d"}, "outcome.id is missing"),
        ((*SOURCE, "outcome", "value"), "v", "outcome.value does not fit a binary model; write label"),
        ((*SOURCE, "features"), "all", 'features is "all" but must be auto, or a mapping'),
        ((*SOURCE, "features", "temp"), "nummeric", 'did you mean "numeric"?'),
        ((*SOURCE, "features", "t2"), {"column": "temp", "type": "numeric"}, "t2 reads temp like the feature temp"),
        ((*SOURCE, "features", "p_late"), "numeric", "p_late reads p_late, which is prediction.score"),
        ((*SOURCE, "features", "age", "column"), "age", "age.json is given beside column"),
        ((*SOURCE, "upstreams", "weather"), ["temp", "temp"], 'weather[1] is "temp", which is named twice'),
        ((*SOURCE, "upstreams", "weather"), ["tmp"], 'is no feature of this model; did you mean "temp"?'),
        ((*SOURCE, "slices"), [["a", "b", "c"]], "slices[0] must be one column or a pair of two"),
        ((*SOURCE, "slices"), [["a", "b"], ["b", "a"]], "slices[1] is named twice"),
        ((*SOURCE, "url"), "mysql://u:canary-secret@h/x", "source.url must be store or a URL such as postgresql://"),
        ((*MODEL, "checks", "drift", "thresholds", "psi"), "high", 'psi is "high" but must be a number'),
        ((*MODEL, "checks", "drift", "thresholds", "tmp"), {"psi": 1}, 'did you mean "temp"?'),
        ((*MODEL, "serving", "process", "port"), 80, "process has pid_file and port; give exactly one"),
        ((*MODEL, "circuit", "open_on"), ["quality"], "must be a check and a severity such as quality.critical"),
        ((*MODEL, "circuit", "fallback"), {"late": 1}, "late is no column of the prediction"),
        ((*MODEL, "retraining", "approval"), "robot", 'approval is "robot" but must be human'),
        ((*MODEL, "retraining", "webhook"), "http://example.org/canary-secret", "webhook is not encrypted (http)"),
        (("channels", "ops", "type"), "slak", 'is "slak", which is no type of channel; did you mean "slack"?'),
        (("channels", "ops", "webhook_url"), "canary-secret", "webhook_url must be a URL that begins with https://"),
        (("channels", "ops", "webhook_url"), "https://example.org/x", "webhook_url leads to no host of Slack"),
        (("channels", "ops", "token"), "canary-secret", "ops needs exactly one of webhook_url and token"),
        (("channels", "team", "password"), "canary-secret", "password_file is given beside password"),
        (("channels", "team", "password_file"), "nowhere", "cannot be read from"),
        (("channels", "team", "port"), "abc", 'port is "abc" but must be a whole number'),
        (("channels", "team", "recipients"), [], "recipients is a list but must have at least 1 entries"),
        (("channels", "team", "recipients"), ["team"], 'recipients[0] is "team" but must be an address'),
        (("channels", "team", "security"), "none", "security is none for another machine"),
        (("routes", 0, "to"), ["opps"], 'routes[0].to names "opps", which is no channel; did you mean "ops"?'),
        (("routes", 0, "match", "severity"), "kritical", 'did you mean "critical"?'),
        (("routes", 0, "match", "model"), "lat", 'names "lat", which is no model; did you mean "late"?'),
        (("routes", 1, "quiet_hours", "from"), "25:00", 'from is "25:00" but must be a time of day such as "20:00"'),
        (("alerts", "digest", "to"), ["tema"], 'alerts.digest.to names "tema"'),
        (("alerts", "escalate", "to"), ["x"], 'alerts.escalate.to names "x", which is no channel; known are ops, team'),
        (("alerts", "k"), 4, "alerts.k is 4 but must not exceed n, which is 3"),
        (("alerts", "repeat"), {"criticall": "1h"}, 'criticall is not a known key; did you mean "critical"?'),
        (("web", "listen"), 8080, "web.listen is 8080 but must be an address and a port"),
        (("deadman", "url"), "http://127.0.0.1/x", "deadman.url is not encrypted (http)"),
        (("modles",), {}, 'modles is not a known key; did you mean "models"?'),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(
    folder: Path, place: tuple[str | int, ...], value: Any, sentence: str
) -> None:
    assert sentence in complaint(folder, changed(*place, to=value))


@pytest.mark.parametrize("key", ["table", "time", "id", "prediction"])
def test_a_missing_key_is_named_with_its_meaning(folder: Path, key: str) -> None:
    assert f"models.late.source.{key} is missing; add it: " in complaint(folder, changed(*SOURCE, key, drop=True))


def test_a_missing_secret_may_come_from_a_file(folder: Path) -> None:
    text = changed("channels", "hook", to={"type": "webhook"})
    assert "channels.hook.url is missing; add it (or url_file)" in complaint(folder, text)
    (folder / "hook").write_text("https://example.org/hook")
    config = read(folder, changed("channels", "hook", to={"type": "webhook", "url_file": "hook"}))
    assert config.channels["hook"].options()["url"].get_secret_value() == "https://example.org/hook"


def test_every_problem_is_told_in_the_order_of_the_file(folder: Path) -> None:
    text = COMPLETE.replace("lag: 15m", "lag: soon").replace("k: 2", "k: two").replace("time: occurred_at", "tiem: at")
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    lines = [int(re.findall(r"line (\d+)", problem)[0]) for problem in caught.value.problems]
    assert len(lines) == 4
    assert lines == sorted(lines)
    assert str(caught.value).splitlines() == list(caught.value.problems)


def test_the_line_of_the_mistake_is_named(folder: Path) -> None:
    text = COMPLETE.replace("catch_up: all", "catch_up: sometimes")
    number = 1 + [line.strip() for line in text.splitlines()].index("catch_up: sometimes")
    assert complaint(folder, text).startswith(f", line {number}: models.late.catch_up")


def test_the_name_of_a_model_fits_into_an_address(folder: Path) -> None:
    assert "models.late/2 is no name for a model" in complaint(folder, COMPLETE.replace("  late:", "  late/2:"))


def test_keys_given_twice_are_refused(folder: Path) -> None:
    text = COMPLETE.replace("dewp: {type: numeric}", "temp: text")
    assert "features.temp is given twice, first in line" in complaint(folder, text)


def test_broken_yaml_is_told_with_its_line(folder: Path) -> None:
    assert complaint(folder, "store: {url: embedded\nmodels: {}\n").startswith(
        ", line 2: the text is no valid YAML here"
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "hello\n"])
def test_a_file_without_a_mapping_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="holds no configuration"):
        read(folder, text)


def test_a_file_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; write one with `monitor init"):
        load(tmp_path / "none.yaml", {})


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(b"store: {url: \xff}")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "m.yaml", {})


def test_a_variable_that_is_not_set_is_an_error_with_key_and_line(folder: Path) -> None:
    sentence = complaint(folder, COMPLETE, {})
    assert "channels.ops.webhook_url needs the environment variable SLACK_WEBHOOK_URL, which is not set" in sentence


def test_variables_are_filled_in_after_the_yaml_is_parsed(folder: Path) -> None:
    to = "sender: m@example.org, recipients: [a@example.org], password: p"
    mail = f'{{type: email, host: h, {to}, username: "a${{B}}c$${{d}}${{E:-}}"}}'
    config = read(folder, f'channels: {{m: {mail}}}\nweb: {{base_url: "${{F:-}}"}}', {"B": ": {}#'"})
    assert config.channels["m"].options()["username"] == "a: {}#'c${d}"
    assert config.web.base_url is None


def test_a_value_from_the_environment_is_never_repeated(folder: Path) -> None:
    text = changed("channels", "team", "port", to="${PORT}")
    sentence = complaint(folder, text, {**ENVIRON, "PORT": SECRET})
    assert 'port is "${PORT}" (from the environment) but must be a whole number' in sentence


def test_secrets_never_show_in_the_representation(folder: Path) -> None:
    assert SECRET not in repr(read(folder, COMPLETE))


def test_an_empty_secret_file_is_refused(folder: Path) -> None:
    (folder / "secrets" / "smtp").write_text("\n")
    assert "leads to the empty file" in complaint(folder, COMPLETE)


def test_plain_http_is_for_this_machine_alone(folder: Path) -> None:
    hook = {"type": "webhook", "url": "http://127.0.0.1:9/x"}
    tree = f"channels: {{hook: {json.dumps(hook)}}}\n"
    assert "is not encrypted" in complaint(folder, tree)
    allowed = tree + "security: {allow_private_addresses: true}\n"
    assert read(folder, allowed).channels
    assert "is not encrypted" in complaint(folder, allowed.replace("127.0.0.1", "10.0.0.1"))
    slack = allowed.replace("webhook", "slack", 1).replace('"url"', '"webhook_url"')
    assert read(folder, slack).channels


@dataclass(frozen=True, kw_only=True)
class Level:
    warning: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Missing:
    level: Level = field(default_factory=Level)
    min_rows: int = 200
    memory: timedelta = timedelta(days=7)


CHECK = "models: {m: {source: {table: t, time: at, id: id, prediction: {value: y}}, window: 1h, checks: {CHECKS}}}"


def test_options_are_the_fields_of_the_registered_class(folder: Path) -> None:
    registered: dict[str, Any] = {"check_options": {"missing": Missing}}
    good = CHECK.replace("CHECKS", "missing: {min_rows: 5, level: {warning: 0.1}, memory: 2d}")
    config = read(folder, good, **registered)
    assert typed_options(Missing, config.models["m"].options("missing"))["memory"] == timedelta(days=2)
    for options, sentence in [
        ("{min_row: 5}", 'checks.missing.min_row is not a known key; did you mean "min_rows"?'),
        ("{level: {warn: 1}}", "checks.missing.level.warn is not a known key"),
        ("{min_rows: many}", "checks.missing.min_rows is refused"),
        ("{memory: long}", "checks.missing is refused: memory must be a duration"),
    ]:
        assert sentence in complaint(folder, CHECK.replace("CHECKS", f"missing: {options}"), **registered)
    unknown = CHECK.replace("CHECKS", "mising: {}")
    assert 'checks.mising is no check; did you mean "missing"?' in complaint(folder, unknown, **registered)
    later = read(folder, CHECK.replace("CHECKS", "multivariate: {rows: 5}"), **registered)
    assert inactive_parts(later) == ["models.m.checks.multivariate is understood but not active yet in this version."]


@dataclass(frozen=True, kw_only=True)
class Pigeon:
    loft: str


def test_an_added_channel_takes_the_fields_of_its_class(folder: Path) -> None:
    registered: dict[str, Any] = {"channel_options": {"pigeon": Pigeon}}
    config = read(folder, "channels: {p: {type: pigeon, loft: roof}}", **registered)
    assert config.channels["p"].options() == {"loft": "roof"}
    wrong = complaint(folder, "channels: {p: {type: pigeon, loft: roof, lofft: x}}", **registered)
    assert 'channels.p.lofft is not a known key; did you mean "loft"?' in wrong


def test_holidays_are_those_of_the_countries_and_dates_that_are_listed(folder: Path) -> None:
    model = read(folder, COMPLETE).models["late"]
    found = model.holiday_dates(datetime(2013, 1, 1, 12, tzinfo=UTC), datetime(2014, 1, 1, 12, tzinfo=UTC))
    assert {"2013-07-04", "2013-05-17", "2013-12-24", "2014-11-27"} <= found
    assert "2013-07-05" not in found


def test_holidays_of_windows_longer_than_a_day_are_remarked_on(folder: Path) -> None:
    def said(window: str) -> list[str]:
        text = COMPLETE.replace("{calendar: day, timezone: America/New_York}", window)
        return [sentence for sentence in remarks(read(folder, text), {}) if "holidays" in sentence]

    assert said("{calendar: day}") == said("1h") == []
    assert said("7d") == said("{calendar: week}") != []


def test_what_comes_later_is_named_once_and_only_where_it_is_configured(folder: Path) -> None:
    assert inactive_parts(read(folder, "models: {}")) == []
    places = [sentence.split(" is understood")[0] for sentence in inactive_parts(read(folder, COMPLETE))]
    assert "models.late.retraining.max_age" not in places
    assert "alerts.escalate" not in places
    assert len(places) == len(set(places))


def test_the_hash_is_of_the_meaning_without_secrets(folder: Path) -> None:
    def hashed(text: str, environ: Mapping[str, str] = ENVIRON) -> str:
        return config_hash(read(folder, text, environ).models["late"])

    first = hashed(COMPLETE)
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert hashed(COMPLETE.replace("lateness: 48h", "lateness: 2d")) == first
    assert hashed(COMPLETE.replace("    lag: 15m\n", "")) == first
    assert hashed(COMPLETE, {**ENVIRON, "MONITOR_SOURCE_URL": f"postgresql://u:{SECRET}@h/d"}) == first
    assert hashed(COMPLETE, {**ENVIRON, "RETRAIN_URL": "https://example.org/x"}) == first
    assert hashed(COMPLETE.replace("threshold: 0.35", "threshold: 0.36")) != first
    assert hashed(COMPLETE.replace("psi: 0.25", "psi: 0.2")) != first
    assert hashed(COMPLETE.replace("weather: [temp, dewp]", "weather: [dewp, temp]")) != first


def test_the_schema_knows_every_key_and_the_files_for_secrets() -> None:
    schema = json_schema()
    json.dumps(schema)
    definitions = schema["$defs"]
    assert "password_file" in definitions["EmailChannel"]["properties"]
    assert "from" in definitions["QuietHours"]["properties"]
    assert "continue" in definitions["RouteSection"]["properties"]
    assert definitions["WebhookChannel"]["required"] == ["type"]
    assert definitions["WebhookChannel"]["allOf"] == [{"anyOf": [{"required": ["url"]}, {"required": ["url_file"]}]}]
    assert definitions["SourceSection"]["anyOf"][1] == {"required": ["builtin"]}
    assert definitions["ModelSection"]["additionalProperties"] is False
    assert definitions["ModelSection"]["properties"]["lag"]["description"].startswith("Wait after")


def test_the_page_of_the_manual_is_the_generated_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text() == configuration_page(), "run `python -m monitor.manual docs/configuration.md`"


def test_merge_keys_and_anchors_work_and_recursion_is_refused(folder: Path) -> None:
    text = """
models:
  a: &a {source: &s {table: t, time: at, id: id, prediction: {value: y}}, window: 1h}
  b: {<<: *a, window: 1d}
"""
    models = read(folder, text).models
    assert (models["a"].window, models["b"].window) == (timedelta(hours=1), timedelta(days=1))
    assert "refers to itself" in complaint(folder, "store: &x {url: *x}")


def test_nearest_forgives_case_and_separators() -> None:
    assert nearest("PidFile", ["pid_file", "port"]) == "pid_file"
    assert nearest("zebra", ["pid_file", "port"]) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000_000))
def test_a_duration_survives_being_written_and_read(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "15", "m", "1.5h", "-1h", "15 m", "1m1h", "1mo", "１5m", "9" * 30 + "y"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_wrong_value_anywhere_ends_in_anything_but_sentences(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "secrets").mkdir()
    (folder / "secrets" / "smtp").write_text("x")
    tree = copy.deepcopy(yaml.safe_load(changed("store", "url", to="embedded")))
    node, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    node[key] = data.draw(
        leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.text(max_size=3), leaves, max_size=2)
    )
    text = yaml.safe_dump(tree).replace("${", "$${") if "${" in repr(node[key]) else yaml.safe_dump(tree)
    with contextlib.suppress(ConfigError):  # every other exception is a mistake of ours
        read(folder, text)


def test_dates_with_hours_and_zones_bound_the_active_time(folder: Path) -> None:
    text = changed(*MODEL, "active", to={"from": "2013-03-01T06:00:00+00:00"})
    assert read(folder, text).models["late"].active_bounds() == (datetime(2013, 3, 1, 6, tzinfo=UTC), None)
