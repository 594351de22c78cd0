"""What the demo's data promise."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from monitor.demo import flights
from monitor.demo.fault import CELSIUS, celsius, injected_on
from monitor.demo.flights import Flights


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest) -> Flights:
    # The model is fitted once per version of code and libraries, not once per run of the tests.
    return flights.load(Path(request.config.cache.mkdir("demo-flights")))


@pytest.fixture(scope="module")
def production(prepared: Flights) -> pa.Table:
    return prepared.production_rows()


def local_dates(times: pa.ChunkedArray) -> list[date]:
    return [moment.astimezone(flights.ZONE).date() for moment in times.to_pylist()]


def test_the_year_is_complete(prepared: Flights, production: pa.Table) -> None:
    assert production.num_rows == 284_821
    assert prepared.training_rows().num_rows + prepared.holdout_rows().num_rows + production.num_rows == 336_776
    assert len(set(production["request_id"].to_pylist())) == production.num_rows
    days = local_dates(production["occurred_at"])
    assert (min(days), max(days), len(set(days))) == (date(2013, 3, 1), date(2013, 12, 31), 306)


def test_the_weekday_is_that_of_new_york(production: pa.Table) -> None:
    days = local_dates(production["occurred_at"])
    assert [flights.WEEKDAYS[day.weekday()] for day in days] == production["dow"].to_pylist()


def test_the_hour_is_that_of_new_york_on_both_sides_of_daylight_saving(production: pa.Table) -> None:
    hours = [moment.astimezone(flights.ZONE).hour for moment in production["occurred_at"].to_pylist()]
    assert hours == production["hour"].to_pylist()


def test_what_the_champion_says_follows_from_its_score_and_the_cost_optimal_cut_off(production: pa.Table) -> None:
    assert pytest.approx(0.35) == flights.CUT_OFF
    assert pc.greater_equal(production["p_late"], flights.CUT_OFF).equals(production["said_late"])


def test_the_champion_is_the_one_that_the_design_was_tried_on(prepared: Flights) -> None:
    quality = prepared.figures["quality"]
    assert quality["in_sample"]["auc"] == pytest.approx(0.80, abs=0.02)
    assert quality["out_of_fold"]["auc"] == pytest.approx(0.66, abs=0.02)
    assert quality["held_out"]["auc"] == pytest.approx(0.655, abs=0.02)


def test_the_scores_of_training_rows_are_out_of_fold(prepared: Flights) -> None:
    rows = prepared.training_rows()
    known = rows.filter(pc.is_valid(rows["was_late"]))
    late = known["was_late"].to_numpy().astype(float)
    p = np.clip(known["p_late"].to_numpy(), 1e-6, 1 - 1e-6)
    loss = float(-(late * np.log(p) + (1 - late) * np.log1p(-p)).mean())
    assert loss == pytest.approx(prepared.figures["quality"]["out_of_fold"]["log_loss"], abs=1e-6)
    assert loss > prepared.figures["quality"]["in_sample"]["log_loss"] + 0.05


def test_the_celsius_week_is_exactly_that_week_and_the_model_received_it(production: pa.Table) -> None:
    days = local_dates(production["occurred_at"])
    temperatures: dict[date, list[float]] = {}
    for day, value in zip(days, production["temp"].to_pylist(), strict=True):
        temperatures.setdefault(day, []).append(np.nan if value is None else value)
    means = {day: float(np.nanmean(values)) for day, values in temperatures.items() if day.month == 10}
    assert all((mean < 25) == CELSIUS.covers(day) for day, mean in means.items())
    assert injected_on(CELSIUS.since)
    assert not injected_on(CELSIUS.until + timedelta(days=1))
    assert celsius(32.0) == 0.0


def test_outcomes_come_when_flights_have_landed_and_never_for_cancelled_ones(
    prepared: Flights, production: pa.Table
) -> None:
    outcomes = prepared.outcome_rows()
    assert outcomes.num_rows == 277_337
    asked = dict(zip(production["request_id"].to_pylist(), production["occurred_at"].to_pylist(), strict=True))
    delays = [
        (known - asked[request]).total_seconds() / 3600
        for request, known in zip(outcomes["request_id"].to_pylist(), outcomes["observed_at"].to_pylist(), strict=True)
    ]
    assert 0 < min(delays) < max(delays) < 36


def test_days_bring_every_row_once_and_no_outcome_before_its_day(prepared: Flights) -> None:
    predictions = outcomes = 0
    for day, logged, known in prepared.days():
        predictions += logged.num_rows
        outcomes += known.num_rows
        assert set(local_dates(logged["occurred_at"])) <= {day}
        assert set(local_dates(known["observed_at"])) <= {day}
    assert (predictions, outcomes, day) == (284_821, 277_337, date(2014, 1, 1))


def test_new_years_eve_has_no_weather(production: pa.Table) -> None:
    late = production.filter(pc.greater_equal(production["occurred_at"], flights.local_midnight(date(2013, 12, 31))))
    assert all(late[name].null_count == late.num_rows for name in flights.WEATHER)


def test_reading_prepared_flights_imports_neither_pandas_nor_scikit_learn(prepared: Flights) -> None:
    program = (
        "import sys; from pathlib import Path; from monitor.demo import flights; "
        "next(flights.load(Path(sys.argv[1])).days()); "
        "print(*{'pandas', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(prepared.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "\n")
