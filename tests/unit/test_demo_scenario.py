"""The demo's configuration is one that a user could have written."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from monitor.config import Config, inactive_parts, load, remarks
from monitor.demo import flights, scenario


@pytest.fixture
def config(tmp_path: Path) -> Config:
    setting = scenario.Scenario(
        until=date(2014, 1, 1),
        webhook_url="http://127.0.0.1:9999/services/ops",
        mail_port=9998,
        page_port=9997,
        fallback_cost=3.009,
    )
    (tmp_path / "monitor.yaml").write_text(setting.configuration(), encoding="utf-8")
    return load(tmp_path / "monitor.yaml", {})


def test_it_is_valid_and_needs_no_remark(config: Config) -> None:
    assert not inactive_parts(config)
    assert not remarks(config)


def test_it_names_every_feature_and_its_upstream(config: Config) -> None:
    source = config.models[flights.MODEL].source
    assert set(source.features) == set(flights.FEATURES)
    assert {name for members in source.upstreams.values() for name in members} == set(flights.FEATURES)


def test_the_cut_off_is_the_one_that_the_costs_imply(config: Config) -> None:
    model = config.models[flights.MODEL]
    costs = model.business.costs
    assert costs is not None
    assert costs.false_positive is not None
    assert costs.false_negative is not None
    optimal = costs.false_positive / (costs.false_positive + costs.false_negative)
    assert model.source.prediction.threshold == pytest.approx(optimal)
    assert model.business.fallback_cost == pytest.approx(3.01)


def test_nothing_of_2013_is_deleted_for_its_age(config: Config) -> None:
    assert all(getattr(config.retention, name).days > 50 * 365 for name in type(config.retention).model_fields)


def test_a_free_port_is_found_where_the_preferred_one_is_taken() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert scenario.free_port(port) not in (port, 0)
