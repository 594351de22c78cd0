"""Rules of the resource check, on memory in megabytes as a process would have it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from monitor.check import Evidence, Finding, Stage, Verdict
from monitor.checks.resource import Resource
from monitor.process import ProcessSample
from monitor.window import Window, WindowSpec

START = datetime(2024, 5, 6, tzinfo=UTC)
SPEC = WindowSpec(width=timedelta(minutes=15))
MB = 1_000_000
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
PACES = pytest.mark.parametrize("pace", [SECOND, MINUTE], ids=["every second", "every minute"])


@dataclass(kw_only=True)
class Watch:
    """A check that is fed one sample after the other, its memory now and then through JSON as the store has it."""

    pace: timedelta = MINUTE
    check: Resource = field(default_factory=Resource)
    at: datetime = START
    memory: Any = None
    pid: int = 1
    born: datetime = START
    version: str = "1"
    limit: int | None = None
    seen: int = 0
    noise: Callable[[], float] = lambda: 0.0

    def see(self, megabytes: float | None) -> dict[str, Finding]:
        """Judge one more sample (None: no process) and return the findings by statistic."""
        self.at += self.pace
        sample = None
        if megabytes is not None:
            sample = ProcessSample(
                process="serve",
                sampled_at=self.at,
                pid=self.pid,
                started_at=self.born,
                model_version=self.version,
                rss_bytes=round(megabytes * (1 + self.noise()) * MB),
                memory_limit_bytes=self.limit,
            )
        evidence = Evidence(
            model="m",
            stage=Stage.PROCESS,
            window=Window(start=self.at, end=self.at + self.pace),
            spec=SPEC,
            memories={} if self.memory is None else {"resource": self.memory},
            samples={"serve": sample},
        )
        judgement = self.check.run(evidence)
        self.memory = judgement.memory
        self.seen += 1
        if self.seen % 97 == 0:
            self.memory = json.loads(json.dumps(self.memory))
        return {finding.statistic: finding for finding in judgement.findings}

    def restart(self) -> None:
        self.pid += 1
        self.born = self.at

    def alerts(self, values: Iterable[float | None]) -> list[tuple[int, str]]:
        """Feed values and return where which statistic opened."""
        opened: list[tuple[int, str]] = []
        before: set[str] = set()
        for number, value in enumerate(values):
            now = {name for name, finding in self.see(value).items() if is_open(finding)}
            opened += [(number, name) for name in sorted(now - before)]
            before = now
        return opened


def is_open(finding: Finding) -> bool:
    return finding.verdict in (Verdict.WARNING, Verdict.CRITICAL)


def healthy(watch: Watch, samples: int = 200, level: float = 200) -> Watch:
    assert watch.alerts([level] * samples) == []
    return watch


def noisy(pace: timedelta = MINUTE, seed: int = 1, scale: float = 0.02) -> Watch:
    rng = np.random.default_rng(seed)
    return Watch(pace=pace, noise=lambda: float(rng.normal(0, scale)))


# --- twice the usual ---


@PACES
def test_twice_the_usual_for_three_samples_is_critical_with_both_figures(pace: timedelta) -> None:
    watch = healthy(noisy(pace))
    assert watch.alerts([430, 430]) == []
    finding = watch.see(430)["rss_ratio"]
    assert finding.verdict is Verdict.CRITICAL
    assert finding.family == "resource:serve"
    assert finding.message.startswith("serve uses ")
    assert "times its usual" in finding.message
    assert finding.details["baseline_rss_bytes"] == pytest.approx(200 * MB, rel=0.02)


@PACES
def test_a_spike_of_one_or_two_samples_is_nothing(pace: timedelta) -> None:
    watch = healthy(noisy(pace))
    assert watch.alerts(([200] * 30 + [900] + [200] * 30 + [700, 700]) * 5) == []


def test_before_the_usual_is_known_nothing_is_said_to_be_well() -> None:
    watch = Watch()
    verdicts = [watch.see(200)["rss_ratio"].verdict for _ in range(50)]
    assert verdicts[:39] == [Verdict.INCONCLUSIVE] * 39
    assert verdicts[39:] == [Verdict.OK] * 11


def test_loading_after_a_start_is_not_the_usual() -> None:
    watch = Watch()
    watch.alerts([900] * 10 + [200] * 30)
    assert watch.see(200)["rss_ratio"].details["baseline_rss_bytes"] == 200 * MB


def test_what_is_open_closes_only_well_below_the_threshold() -> None:
    watch = healthy(Watch())
    watch.alerts([420] * 5)
    assert [is_open(watch.see(x)["rss_ratio"]) for x in (390, 380, 390, 310)] == [True] * 4
    assert [is_open(watch.see(x)["rss_ratio"]) for x in (250, 250, 250)] == [True, True, False]


def test_a_fault_is_not_learned_while_it_lasts_and_is_the_usual_after_a_week() -> None:
    watch = healthy(Watch(pace=timedelta(minutes=30)))
    day = 48
    assert watch.alerts([500] * 6 * day) == [(2, "rss_ratio")]
    assert is_open(watch.see(500)["rss_ratio"])
    assert watch.see(500)["rss_ratio"].details["baseline_rss_bytes"] == 200 * MB
    watch.alerts([500] * 2 * day)
    finding = watch.see(500)["rss_ratio"]
    assert (finding.verdict, finding.details["baseline_rss_bytes"]) == (Verdict.OK, 500 * MB)


def test_busy_hours_are_ordinary_from_the_fourth_day_on_but_more_than_them_is_not() -> None:
    watch = healthy(Watch(pace=timedelta(minutes=10)))
    day = [200.0] * 108 + [450.0] * 36
    assert [number // len(day) for number, _ in watch.alerts(day * 7)] == [0, 1, 2]
    assert watch.alerts([200.0] * 100 + [700.0] * 10) == [(102, "rss_ratio")]


def test_coming_down_by_a_restart_makes_no_height_ordinary() -> None:
    watch = healthy(Watch())
    for _ in range(5):
        assert watch.alerts([500] * 10) == [(2, "rss_ratio")]
        watch.restart()
        watch.alerts([200] * 70)


def test_another_model_version_has_another_usual() -> None:
    watch = healthy(Watch())
    watch.version = "2"
    assert watch.alerts([600] * 100) == []
    assert watch.see(600)["rss_ratio"].details["baseline_rss_bytes"] == 600 * MB


def test_the_usual_survives_a_restart() -> None:
    watch = healthy(Watch())
    watch.restart()
    assert watch.alerts([450] * 10) == [(2, "rss_ratio")]


# --- leaks ---


@PACES
@pytest.mark.parametrize(
    ("before", "doubles_in"), [(40, 40), (40, 600), (400, 15), (400, 150), (400, 1500), (400, 6000)]
)
def test_a_leak_is_alerted_before_two_and_a_half_times_the_usual(pace: timedelta, doubles_in: int, before: int) -> None:
    watch = healthy(noisy(pace, seed=doubles_in), before)
    growing = 200 * (1 + np.arange(1.5 * doubles_in) / doubles_in)
    assert watch.alerts(growing), f"not seen up to {growing[-1]:.0f} MB"


def test_a_slow_leak_is_told_with_its_pace_and_the_time_to_the_limit() -> None:
    watch = healthy(noisy())
    watch.limit = 1000 * MB
    for number in range(2000):
        found = watch.see(200 + number / 6)["leak"]  # 10 MB an hour
        if is_open(found):
            break
    assert found.details["leak_bytes_per_hour"] == pytest.approx(10 * MB, rel=0.15)
    hours = (1000 - 200 - number / 6) / 10
    assert found.details["time_to_limit"] == pytest.approx(hours * 3600, rel=0.2)
    assert found.verdict is Verdict.WARNING
    assert "leaks memory: its floor climbs by" in found.message
    assert "limit of 954 MiB is reached in" in found.message


def test_a_limit_within_a_day_makes_a_leak_critical_and_earlier() -> None:
    opened = {}
    for limit in (None, 500 * MB):
        watch = healthy(noisy())
        watch.limit = limit
        (opened[limit], _), *_ = watch.alerts(200 + np.arange(600) / 3)
    assert opened[500 * MB] < (opened[None] or 0)
    watch = healthy(noisy())
    watch.limit = 500 * MB
    found = [watch.see(200 + n / 3)["leak"] for n in range(opened[500 * MB] + 1)][-1]
    assert found.verdict is Verdict.CRITICAL


@PACES
@pytest.mark.parametrize("filled", [1.3, 1.8])
@pytest.mark.parametrize("samples", [60, 300, 1000])
def test_a_cache_that_fills_and_stays_is_no_leak(pace: timedelta, filled: float, samples: int) -> None:
    watch = noisy(pace, scale=0.01)
    growing = 200 * (1 + (filled - 1) * (1 - np.exp(-np.arange(5 * samples) / samples)))
    assert watch.alerts([*growing, *[200 * filled] * 300]) == []


def test_a_cache_that_fills_in_a_straight_line_by_less_than_half_is_no_leak() -> None:
    watch = healthy(noisy())
    assert watch.alerts([*np.linspace(200, 280, 400), *[280.0] * 1000]) == []


def test_filling_up_again_after_a_restart_to_what_was_usual_is_no_leak() -> None:
    watch = healthy(noisy(), 1000, level=400)
    watch.restart()
    assert watch.alerts([*np.linspace(200, 400, 600), *[400.0] * 300]) == []


def test_a_leak_that_stopped_is_over() -> None:
    watch = healthy(noisy())
    assert [statistic for _, statistic in watch.alerts(np.linspace(200, 340, 400))] == ["leak"]
    watch.alerts([340.0] * 600)
    assert not is_open(watch.see(340)["leak"])


def test_a_sawtooth_of_a_garbage_collector_is_no_leak() -> None:
    watch = noisy()
    assert watch.alerts([200 + 8 * (i % 17) for i in range(4000)]) == []


# --- restarts and absence ---


def test_three_restarts_within_an_hour_are_a_loop_and_fewer_are_not() -> None:
    watch = healthy(Watch())
    opened: list[Sequence[Any]] = []
    for _ in range(3):
        watch.restart()
        opened.append(watch.alerts([200] * 5))
    assert opened == [[], [], [(0, "restarts")]]
    assert next(n for n in range(80) if not is_open(watch.see(200)["restarts"])) == pytest.approx(50, abs=6)


def test_a_start_time_that_the_kernel_corrects_by_a_second_is_no_restart() -> None:
    watch = healthy(Watch())
    for seconds in (1, -1, 1):
        watch.born = START + seconds * SECOND
        assert watch.see(200)["restarts"].value == 0


def test_a_process_that_is_away_for_a_minute_is_gone_and_a_quick_restart_is_not() -> None:
    watch = healthy(Watch(pace=SECOND))
    assert watch.alerts([None] * 40) == []
    watch.restart()
    assert watch.alerts([200] * 5) == []
    assert watch.alerts([None] * 90) == [(60, "missing")]
    assert not is_open(watch.see(200)["missing"])


def test_a_process_that_is_never_found_is_gone() -> None:
    assert Watch().alerts([None] * 5) == [(2, "missing")]


def test_without_memory_figures_only_absence_and_restarts_are_judged() -> None:
    sample = ProcessSample(process="serve", sampled_at=START, pid=1)
    evidence = Evidence(
        model="m", stage=Stage.PROCESS, window=Window(start=START, end=START + MINUTE), spec=SPEC,
        samples={"serve": sample},
    )  # fmt: skip
    assert {finding.statistic for finding in Resource().run(evidence).findings} == {"missing", "restarts"}


def test_what_is_remembered_stays_small() -> None:
    watch = noisy(SECOND)
    watch.alerts([200] * 12_000)
    assert len(json.dumps(watch.memory)) < 12_000
