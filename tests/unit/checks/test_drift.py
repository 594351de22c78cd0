"""Drift: what is found, what is left alone, and what a green light promises."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from monitor.check import (
    Budget,
    Cause,
    Episode,
    Evidence,
    Finding,
    Judgement,
    ReferenceKind,
    Severity,
    Stage,
    ThresholdSource,
    Verdict,
    checks,
)
from monitor.checks.drift import Drift
from monitor.column import NumericColumn
from monitor.outcome import Task
from monitor.panel import Panel
from monitor.profile import Profile
from monitor.reference import SCORE, Reference, build_reference
from monitor.rehearsal import achieved_rate, level_at, rate_at
from monitor.statistic import StatisticKind, null_model
from monitor.stats import neyman
from tests.unit.checks.stream import (
    FIRST,
    SPEC,
    UPSTREAMS,
    bad,
    batch_of,
    day_rows,
    profile_of,
    reference,
    run,
    shifted,
    window_of,
)

DAYS = range(56, 84)


def test_ordinary_days_are_ordinary() -> None:
    flagged = [(day, f.subject) for day, j in run(Drift(), "drift", DAYS) for f in bad(j)]
    assert len({day for day, _ in flagged}) <= 2, flagged


@pytest.mark.parametrize("column", ["plain", "temp", "dew", "colour", "size", "wet", SCORE])
def test_a_green_light_means_that_a_shift_of_the_stated_size_would_have_been_seen(column: str) -> None:
    """Over several trainings, days are shifted by their minimum detectable size; four in five have to be flagged."""
    found = []
    for seed in range(1, 7):
        trained = reference(rows=300, seed=seed)
        null, frozen = null_model(trained), trained.layout.columns[trained.layout.index[column]]
        panel = Panel.of(null, [column])
        main = panel.main(0)
        item = panel.statistics[main]
        for day in range(56, 64):
            theta, n = null.statistics.values(profile_of(trained, day, rows=300, seed=seed + 100))
            size = float(panel.judge(null.season, theta, n, day % 7, 0.008).detectable[main])
            if isinstance(frozen, NumericColumn) and item.name == "location":
                change = shifted("score" if column == SCORE else column, size * frozen.scale)
            else:
                change = _more_of(column, item.name.removeprefix("= "), size * item.scale, item.kind)
            theta, n = null.statistics.values(profile_of(trained, day, change, rows=300, seed=seed + 100))
            found.append(bool(panel.judge(null.season, theta, n, day % 7, 0.008).flagged[0]))
    assert np.mean(found) >= 0.7


def _more_of(column: str, value: str, share: float, kind: StatisticKind) -> Any:
    """Return a change that moves a share of rows to a category, or of a mostly-zero column off its zero."""

    def change(values: dict[str, Any]) -> None:
        x = values[column]
        if kind is StatisticKind.CATEGORY:
            others = np.flatnonzero(x != value)
            x[others[: round(share * len(x))]] = value
        else:
            others = np.flatnonzero(x == 0)
            x[others[: round(0.35 * share * len(x))]] = 2.0

    return change


def test_a_window_wholly_outside_the_training_range_flags_at_once() -> None:
    """Components of ranks saturate at √3: with days that differ by .9 sd they could never tell."""
    for day, judgement in run(Drift(), "drift", range(56, 57), shifted("temp", 500.0)):
        finding = next(f for f in bad(judgement) if f.subject == "temp")
        assert (day, finding.statistic) == (56, "location")
        assert finding.effect is not None
        assert finding.effect > 5
        assert finding.direction == 1


def test_a_window_outside_the_range_flags_however_much_training_varied_and_however_few_its_windows_are() -> None:
    def above(values: dict[str, Any]) -> None:
        values["temp"] = np.full_like(values["temp"], 81.0)  # training is clipped at 80

    for days in (2, 56):
        trained = reference(days=days)
        judgement = next(run(Drift(), "drift", range(56, 57), above, trained=trained))[1]
        finding = next(f for f in bad(judgement) if f.subject == "temp")
        assert "lies outside the range of training" in finding.message
        usual = next(run(Drift(), "drift", range(56, 57), trained=trained))[1]
        assert not any("outside the range" in f.message for f in usual.findings)


def test_a_shift_that_training_lets_expect_is_no_change_of_shape() -> None:
    """A day as far off as usual days are spreads by the square of it, which no ordinary day has: that is no news."""
    trained = reference(rows=2000)
    null = null_model(trained)
    panel = Panel.of(null, ["plain"])
    places = [i for i, one in enumerate(panel.statistics) if one.kind is StatisticKind.COMPONENT]
    theta, n = null.statistics.values(trained.profiles[0])
    moved = theta.copy()
    at = panel.places[places]
    moved[at] = null.season.mean[0, at] + [0.8, *neyman.shifted(0.8)]
    judged = panel.judge(null.season, moved, n, 0, 0.01)
    assert np.abs(judged.z[places[1:]]).max() < 3 < judged.z[places[0]]
    moved[at[1]] += 0.5
    assert panel.judge(null.season, moved, n, 0, 0.01).deviation[places[1]] == pytest.approx(0.5, abs=0.05)


def test_a_small_shift_that_lasts_opens_an_episode_of_its_own_and_closes_when_it_is_over() -> None:
    change = shifted("plain", 4.0)  # a quarter of a standard deviation, below what one window can see
    changes = dict.fromkeys(range(60, 100), change)
    opened: list[int] = []
    closed: list[int] = []
    for day, judgement in run(Drift(), "drift", range(56, 160), changes):
        for f in judgement.findings:
            if f.subject == "plain" and f.latched:
                (opened if f.verdict is Verdict.WARNING else closed).append(day)
    assert 61 <= opened[0] <= 80
    assert len(closed) == 1
    assert 100 < closed[0] < 130
    assert opened == list(range(opened[0], closed[0]))


def test_a_lasting_finding_says_since_when_and_how_much() -> None:
    *_, (_, judgement) = run(Drift(), "drift", range(56, 90), shifted("plain", 6.0))
    finding = next(f for f in judgement.findings if f.subject == "plain" and f.latched)
    assert finding.began_at is not None
    assert "plain: location has stayed 0." in finding.message
    assert "above training since" in finding.message
    assert finding.severity is Severity.INFO
    assert finding.effect == pytest.approx(6 / 15, abs=0.15)


def test_a_finding_says_which_reference_moved_and_from_when() -> None:
    changes = dict.fromkeys(range(70, 130), shifted("plain", 60.0))
    said: dict[int, Finding] = {}
    beside: dict[tuple[int, ReferenceKind], Finding] = {}
    for day, judgement in run(Drift(), "drift", range(56, 110), changes):
        for f in judgement.findings:
            if f.subject == "plain" and not f.latched and f.verdict is Verdict.WARNING and f.family:
                said[day] = f
            if f.subject == "plain" and f.reference_kind is ReferenceKind.TRAILING:
                beside[day, f.reference_kind] = f
    first, late = said[70], said[105]
    assert "sudden: most of the last weeks were ordinary" in first.message
    assert first.began_at == window_of(70).start
    assert first.details["references"]["trailing"] == pytest.approx(4.0, abs=0.6)  # 60 / 15
    assert "known: the last weeks were like this already" in late.message
    assert abs(late.details["references"]["trailing"]) < 1 < late.details["references"]["training"]
    assert beside[70, ReferenceKind.TRAILING].verdict is Verdict.WARNING
    assert beside[105, ReferenceKind.TRAILING].verdict is Verdict.OK
    assert not beside[70, ReferenceKind.TRAILING].family, "information on another reference moves no alert"


def test_a_season_is_told_from_a_shift() -> None:
    def weekly(day: int) -> Any:
        return shifted("plain", 60.0 if day % 7 == 6 else 0.0)

    days = [day_rows(day, 600, 1) for day in range(56)]
    for day, values in enumerate(days):
        weekly(day)(values)
    trained = build_reference(
        batch_of(days), model="shop", version="1", task=Task.BINARY, spec=SPEC, created_at=FIRST, upstreams=UPSTREAMS
    )
    judged = list(run(Drift(), "drift", range(56, 70), {day: weekly(day) for day in range(56, 70)}, trained=trained))
    sunday = [f for day, j in judged if day == 69 for f in j.findings if f.subject == "plain" and f.family]
    assert [f.verdict for f in sunday] == [Verdict.OK]
    assert sunday[0].details["moved"] == "seasonal"
    assert sunday[0].details["references"]["training"] > 1 > abs(sunday[0].details["references"]["season"])
    monday = [f for day, j in judged if day == 63 for f in j.findings if f.subject == "plain" and f.family]
    assert "moved" not in monday[0].details


def test_the_trail_stands_still_while_its_source_is_suspect() -> None:
    change = shifted("temp", 60.0)
    check = Drift()
    memory: dict[str, Any] = {}
    for day in range(56, 60):
        profile = profile_of(reference(), day, change if day >= 58 else None)
        suspect = {"sudden": {"sources": {"meter": {"since": "x"}}}} if day >= 58 else {}
        evidence = Evidence(
            model="shop",
            stage=Stage.INPUTS,
            window=window_of(day),
            spec=SPEC,
            maybe_reference=reference(),
            maybe_current=profile,
            memories={"drift": memory, **suspect},
        )
        memory = check.run(evidence).memory
    trails = memory["features"]["trails"]
    assert len(trails["temp"]) == 2  # of the meter
    assert len(trails["colour"]) == 4  # of the shop


def test_an_episode_remembered_without_an_interval_goes_on() -> None:
    days = list(run(Drift(), "drift", range(56, 90), shifted("plain", 6.0)))
    memory = days[-1][1].memory
    began = memory["features"]["since"]["plain"]["at"]
    memory["features"]["since"]["plain"] = began  # as an older program wrote it
    evidence = Evidence(
        model="shop",
        stage=Stage.INPUTS,
        window=window_of(90),
        spec=SPEC,
        maybe_reference=reference(),
        maybe_current=profile_of(reference(), 90, shifted("plain", 6.0)),
        memories={"drift": memory},
    )
    finding = next(f for f in Drift().run(evidence).findings if f.subject == "plain" and f.latched)
    assert finding.began_at is not None
    assert finding.began_at.isoformat() == began


def test_an_alert_that_a_forgotten_detector_holds_open_is_ended() -> None:
    episode = Episode(
        family="feature:plain", cause=Cause.DRIFT, severity=Severity.INFO, opened=FIRST, resolved=None, latched=True
    )
    judgement = next(run(Drift(), "drift", range(56, 57), episodes=(episode,)))[1]
    ended = [f for f in judgement.findings if f.subject == "plain" and f.latched]
    assert [f.verdict for f in ended] == [Verdict.OK]


def test_features_that_follow_the_clock_are_compared_with_the_clock_alone() -> None:
    judgement = next(run(Drift(), "drift", range(56, 57)))[1]
    assert not {"hour", "weekday"} & {f.subject for f in judgement.findings}
    assert {"hour", "weekday"} <= {c.column for c in judgement.columns}
    assert not len(null_model(reference()).statistics.of("hour"))


def test_a_feature_without_usable_rows_is_inconclusive_and_hides_no_other() -> None:
    def change(values: dict[str, Any]) -> None:
        values["temp"] = np.full_like(values["temp"], np.nan)
        values["plain"] = values["plain"] + 100.0

    judgement = next(run(Drift(), "drift", range(56, 57), change))[1]
    verdicts = {f.subject: f.verdict for f in judgement.findings if f.statistic != "mean"}
    assert verdicts["temp"] is Verdict.INCONCLUSIVE
    assert verdicts["plain"] is Verdict.WARNING


def test_an_empty_window_is_inconclusive_throughout() -> None:
    trained = reference()
    judgement = next(run(Drift(), "drift", range(56, 57), profiles={56: Profile.empty(trained.layout)}))[1]
    assert {f.verdict for f in judgement.findings} == {Verdict.INCONCLUSIVE}
    assert all(c.population_stability_index is None for c in judgement.columns)


def test_what_is_significant_but_smaller_than_materiality_is_left_alone() -> None:
    change = shifted("plain", 12.0)
    flagged = {
        materiality: {
            f.subject for f in bad(next(run(Drift(materiality=materiality), "drift", range(56, 57), change))[1])
        }
        for materiality in (0.05, 1.5)
    }
    assert "plain" in flagged[0.05]
    assert "plain" not in flagged[1.5]


def test_a_constant_that_departs_is_found() -> None:
    judgement = next(run(Drift(), "drift", range(56, 57), shifted("fixed", 1.0)))[1]
    finding = next(f for f in bad(judgement) if f.subject == "fixed")
    assert finding.statistic == "not constant"
    assert finding.effect == pytest.approx(1.0)


def test_feature_drift_is_for_the_digest_unless_someone_asked_for_more() -> None:
    quiet = next(run(Drift(), "drift", range(56, 57), shifted("plain", 60.0)))[1]
    loud = next(run(Drift(notify="message"), "drift", range(56, 57), shifted("plain", 60.0)))[1]
    assert {f.severity for f in bad(quiet) if f.subject == "plain"} == {Severity.INFO}
    assert {f.severity for f in bad(loud) if f.subject == "plain"} == {Severity.WARNING}


def test_without_labels_feature_drift_that_moves_the_score_is_a_message() -> None:
    def change(values: dict[str, Any]) -> None:
        values["plain"] = values["plain"] + 60.0
        values["score"] = (values["score"] + 0.3).clip(0, 1)

    for outcomes, severity in ((True, Severity.INFO), (False, Severity.WARNING)):
        judgement = next(run(Drift(), "drift", range(56, 57), change, has_outcomes=outcomes))[1]
        assert {f.severity for f in bad(judgement) if f.subject == "plain"} == {severity}


def test_the_score_is_a_message_with_its_measured_shift() -> None:
    judgement = next(run(Drift(), "drift", range(56, 57), shifted("score", 0.2)))[1]
    finding = next(f for f in bad(judgement) if f.family == "score")
    assert finding.severity is Severity.WARNING
    assert finding.effect == pytest.approx(0.2, abs=0.05)
    assert finding.impact is not None
    assert 0.7 < finding.impact < 2.0
    assert finding.threshold_source is ThresholdSource.BUDGET
    assert finding.message.startswith("the mean score is 0.5")
    assert "above training's" in finding.message


def test_a_score_that_creeps_is_found_by_the_slow_path() -> None:
    opened = [
        day
        for day, judgement in run(Drift(), "drift", range(56, 120), shifted("score", 0.03))
        for f in bad(judgement)
        if f.family == "score" and f.latched
    ]
    assert opened
    assert opened[0] < 100


@pytest.mark.parametrize(
    ("thresholds", "crossed"),
    [
        ({"psi": 0.1}, True),
        ({"psi": 99.0}, False),
        ({"plain": {"wasserstein": 0.3}}, True),
        ({"ks_p_value": 1e-6}, True),
    ],
)
def test_a_configured_threshold_is_a_message_when_it_is_crossed(thresholds: Any, crossed: bool) -> None:
    judgement = next(run(Drift(thresholds=thresholds), "drift", range(56, 57), shifted("plain", 15.0)))[1]
    told = [f for f in judgement.findings if f.subject == "plain" and f.threshold_source is ThresholdSource.CONFIGURED]
    assert len(told) == 1
    assert (told[0].verdict is Verdict.WARNING) is crossed
    assert told[0].severity is Severity.WARNING
    if crossed:
        assert "configured" in told[0].message


def test_a_general_threshold_leaves_the_clock_alone() -> None:
    """A day has one weekday: its distance from training is always large."""
    judgement = next(run(Drift(thresholds={"psi": 0.25}), "drift", range(56, 57)))[1]
    assert not [f for f in bad(judgement) if f.threshold_source is ThresholdSource.CONFIGURED]


def test_a_threshold_on_a_feature_nobody_knows_is_said() -> None:
    judgement = next(run(Drift(thresholds={"tmep": {"psi": 0.25}}), "drift", range(56, 57)))[1]
    finding = next(f for f in judgement.findings if f.subject == "tmep")
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "tmep" in finding.message


def test_wrong_options_are_refused() -> None:
    for options in ({"materiality": 0}, {"thresholds": {"pis": 0.2}}, {"threshold": 1}, {"notify": "mail"}):
        with pytest.raises(ValidationError):
            checks.build("drift", options)
    assert checks.build("drift", {"thresholds": {"psi": 0.25, "temp": {"wasserstein": 0.3}}}) is not None


def test_distances_of_every_column_are_stored() -> None:
    judgement = next(run(Drift(), "drift", range(56, 57), shifted("plain", 15.0)))[1]
    plain = next(c for c in judgement.columns if c.column == "plain")
    assert plain.wasserstein_distance == pytest.approx(1.0, abs=0.1)
    assert plain.ks_statistic == pytest.approx(0.38, abs=0.06)
    assert plain.mean_delta == pytest.approx(15.0, abs=2.5)
    assert plain.population_stability_index is not None
    assert plain.population_stability_index > 0.5
    colour = next(c for c in judgement.columns if c.column == "colour")
    assert colour.ks_statistic is None
    assert colour.js_distance is not None
    assert colour.js_distance < 0.1
    assert colour.new_category_share == 0


def test_every_verdict_carries_sizes_threshold_and_what_it_could_have_seen() -> None:
    judgement = next(run(Drift(), "drift", range(56, 57)))[1]
    for finding in judgement.findings:
        assert finding.n_current == 600
        assert finding.n_reference == 56 * 600
        assert finding.threshold is not None
        assert finding.minimum_detectable is not None
        assert finding.minimum_detectable > 0


def test_labels_that_move_are_information() -> None:
    def change(values: dict[str, Any]) -> None:
        values["label"] = np.ones_like(values["label"])

    judgement = next(run(Drift(), "drift", range(56, 57), change, stage=Stage.OUTCOMES))[1]
    finding = bad(judgement)[0]
    assert (finding.family, finding.severity) == ("label", Severity.INFO)
    assert finding.value == 1.0
    quiet = [f for _, j in run(Drift(), "drift", DAYS, stage=Stage.OUTCOMES) for f in bad(j)]
    assert len(quiet) <= 1


def test_a_short_training_says_so() -> None:
    trained = reference(days=10)
    judgement = next(run(Drift(), "drift", range(56, 57), shifted("plain", 200.0), trained=trained))[1]
    finding = next(f for f in bad(judgement) if f.subject == "plain")
    assert "calibrating: training has 10 of 28 windows" in finding.message
    assert finding.details["calibrating"] is True
    rows = reference(days=10, has_time=False)
    judgement = next(run(Drift(), "drift", range(56, 57), shifted("plain", 200.0), trained=rows))[1]
    assert any("no time line" in f.message for f in bad(judgement))


def test_two_training_windows_are_too_few_to_judge_by() -> None:
    judgement = next(run(Drift(), "drift", range(56, 57), shifted("plain", 20.0), trained=reference(days=2)))[1]
    finding = next(f for f in judgement.findings if f.subject == "plain")
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "too few windows" in finding.message


def test_the_achieved_rate_is_near_the_nominal_one_where_days_are_normal() -> None:
    budget = Budget(per_month=1.2)
    assert budget.q == 0.01
    assert 0 <= achieved_rate(reference(days=84), budget) < 0.05
    assert np.isnan(achieved_rate(reference(days=2), budget))


def test_the_rate_at_q_is_drawn_from_larger_p_values_where_few_windows_cannot_count_it() -> None:
    rng = np.random.default_rng(1)
    drawn = [rate_at(rng.random(56), 0.01) for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(0.01, rel=0.3)
    assert np.std(drawn) < 0.008  # counting has .013
    heavy = [rate_at(rng.random(56) ** 2, 0.01) for _ in range(400)]  # p below .01 in a tenth of windows
    assert np.mean(heavy) == pytest.approx(0.1, rel=0.3)
    assert 0 < rate_at(np.ones(56), 0.01) < 0.001, "56 calm windows do not rule out the next"


@pytest.mark.parametrize("power", [0.6, 0.8, 1.0, 1.3, 2.0])
def test_windows_like_those_of_training_are_flagged_as_often_as_the_budget_says(power: float) -> None:
    rng = np.random.default_rng(2)
    levels = [level_at(rng.random(56) ** (1 / power), 0.01) for _ in range(400)]  # p ≤ level in level ** power
    assert 0.5 < np.mean(np.array(levels) ** power) / 0.01 < 1.2 or max(levels) == 0.02, "raised to twice q at most"
    assert level_at(np.zeros(56), 0.01) == pytest.approx(0.0001), "not blind, however odd training is"
    assert level_at(np.ones(56), 0.01) == 0.02
    p = rng.random(56)
    assert level_at(p, 0.01, 1 / 7) < level_at(p, 0.01), "where tails are heavy, heavier ones are not far"


def test_rare_categories_are_judged_together_by_what_a_small_window_can_hold() -> None:
    items = null_model(reference()).statistics.items
    names = {item.name for item in items if item.subject == "colour"}
    assert {"= red", "= green", "= blue", "= grey", "= white", "= black"} == names
    few = {i.name for i in null_model(reference(days=40, rows=80)).statistics.items if i.subject == "colour"}
    assert few == {"= red", "= green", "= blue", "other values"}


def test_a_mostly_zero_column_bears_one_component_its_atom_and_the_rest() -> None:
    names = [item.name for item in null_model(reference()).statistics.items if item.subject == "wet"]
    assert names == ["rank", "atom", "rest"]


def test_the_weekday_is_that_of_the_models_own_time_zone() -> None:
    """Built from UTC, every evening would carry tomorrow's weekday."""
    trained = reference()
    column = trained.layout.columns[trained.layout.index["weekday"]]
    assert column.clock is not None
    assert column.clock.agreement == 1.0
    assert trained.spec.slot(window_of(57)) == 57 % 7


def test_its_memory_is_small_and_belongs_to_one_training_profile() -> None:
    *_, (_, judgement) = run(Drift(), "drift", range(56, 70), shifted("plain", 6.0))
    assert len(json.dumps(judgement.memory)) < 10_000
    other = reference(days=42)
    fresh = next(run(Drift(), "drift", range(56, 57), trained=other))[1]
    assert fresh.memory["reference"] == other.id != judgement.memory["reference"]


def test_merged_tiles_give_the_statistics_of_the_window() -> None:
    trained = reference()
    whole = profile_of(trained, 60)
    statistics = null_model(trained).statistics

    def part(keep: slice) -> Any:
        def change(rows: dict[str, Any]) -> None:
            for name in rows:
                rows[name] = rows[name][keep]

        return profile_of(trained, 60, change)

    merged = part(slice(0, 250)) + part(slice(250, 600))
    for ours, exact in zip(statistics.values(merged), statistics.values(whole), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-9)


FEASTS = (3, 10, 16, 24, 31, 37, 43, 51)  # training's days; in production the 63rd


def dates(*days: int) -> frozenset[str]:
    return frozenset(window_of(day).start.date().isoformat() for day in days)


@cache
def with_feasts(seed: int = 1) -> Reference:
    """Return a training in which temperatures are 30 degrees higher on feasts."""
    rows = [day_rows(day, 600, seed) for day in range(56)]
    for day in FEASTS:
        rows[day]["temp"] = rows[day]["temp"] + 30
    return build_reference(batch_of(rows), model="shop", version="1", task=Task.BINARY, spec=SPEC, created_at=FIRST)


def on_the_feast(change: Any, *known: int) -> tuple[Finding, Judgement]:
    judgement = next(run(Drift(), "drift", range(63, 64), change, trained=with_feasts(), holidays=dates(63, *known)))[1]
    return next(f for f in judgement.findings if f.subject == "temp"), judgement


def test_a_holiday_is_compared_with_the_holidays_of_training() -> None:
    alike, _ = on_the_feast(shifted("temp", 30.0), *FEASTS)
    assert alike.verdict is Verdict.OK
    assert alike.details["slot"] == "holiday"
    unlike, _ = on_the_feast(shifted("temp", -60.0), *FEASTS)
    assert unlike.verdict is Verdict.WARNING
    assert "a holiday, compared with those of training" in unlike.message


def test_a_holiday_that_training_did_not_see_is_not_compared() -> None:
    for known in ((), FEASTS[:2]):
        finding, judgement = on_the_feast(shifted("temp", 20.0), *known)
        assert (finding.verdict, finding.reason) == (Verdict.INCONCLUSIVE, "unknown slot, not compared")
        assert f"training had {'2 windows on one' if known else 'none'}, fewer than 3" in finding.message
        assert not bad(judgement)
        score = next(f for f in judgement.findings if f.subject == SCORE and f.statistic == "mean")
        assert score.verdict is Verdict.INCONCLUSIVE


def test_a_window_outside_the_range_flags_on_an_unknown_holiday_too() -> None:
    finding, _ = on_the_feast(shifted("temp", 500.0))
    assert finding.verdict is Verdict.WARNING


def test_holidays_of_training_leave_the_other_days_as_sharp_as_without_them() -> None:
    told = null_model(with_feasts(), dates(*FEASTS)).season
    untold = null_model(with_feasts()).season
    statistics = null_model(with_feasts()).statistics
    place = next(i for i in statistics.of("temp").tolist() if statistics.items[i].name == "location")
    assert told.natural[place] < untold.natural[place] / 3


def test_a_holiday_says_nothing_to_the_slow_path_of_other_days() -> None:
    """An unknown holiday leaves the evidence of the days before as it was."""
    days = dict(run(Drift(), "drift", range(62, 64), trained=with_feasts(), holidays=dates(63)))
    before, after = (days[day].memory["features"]["detector"] for day in (62, 63))
    assert after["evidence"] == before["evidence"]


def untimed(days: range, changes: Any = None, **more: Any) -> list[Judgement]:
    """Return what is said where training's rows have no time."""
    trained = reference(days=20, has_time=False)
    return [judgement for _, judgement in run(Drift(), "drift", days, changes, trained=trained, **more)]


def test_without_a_time_line_nothing_alarms_until_twenty_eight_windows_say_what_is_usual() -> None:
    """Rows without a time show no natural variance: every day of weather would be flagged."""
    days = untimed(range(56, 116))
    for number, judgement in enumerate(days[:28]):
        temp = next(f for f in judgement.findings if f.subject == "temp")
        assert (temp.verdict, temp.reason) == (Verdict.INCONCLUSIVE, "calibrating")
        assert f"{number} of 28 windows of production" in temp.message
        assert not bad(judgement)
    assert all(f.verdict is not Verdict.INCONCLUSIVE for f in days[28].findings if f.subject in ("temp", SCORE))
    assert len([judgement for judgement in days[28:] if bad(judgement)]) <= 3


def test_after_calibrating_a_shift_is_found_and_the_achieved_rate_is_told() -> None:
    days = untimed(range(56, 95), {94: shifted("plain", 20.0)})
    finding = next(f for f in bad(days[-1]) if f.subject == "plain")
    assert finding.details["judged"] == 10
    assert "calibrating: training has no time line; flagged so far:" in finding.message


def test_a_jump_against_training_is_found_while_calibrating_and_never_becomes_usual() -> None:
    days = untimed(range(56, 60), {57: shifted("plain", 60.0), 58: shifted("score", 0.5)})
    assert [f.subject for f in bad(days[1])] == ["plain"]
    assert "a jump while calibrating" in bad(days[1])[0].message
    assert next(f.subject for f in bad(days[2])) == SCORE
    assert [judgement.memory["baseline"]["windows"] for judgement in days] == [1, 1, 1, 2]
