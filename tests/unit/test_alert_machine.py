"""The alert machine under arbitrary windows, revisions, silences and acknowledgements, in any order of arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.alert import OPEN, AlertRules, AlertState
from monitor.check import Finding, Severity, Verdict
from monitor.notification import Reason
from monitor.track import Judged, walk
from tests.unit.alerts import Machine, finding, window

LOUD = frozenset({Reason.FIRST, Reason.REOPENED, Reason.ESCALATED, Reason.REPEATED, Reason.FLAPPING})

judgement = st.builds(
    finding,
    st.sampled_from(list(Verdict)),
    subject=st.sampled_from(["a", "b"]),
    latched=st.booleans(),
    severity=st.sampled_from([Severity.WARNING, Severity.CRITICAL]),
)
windows = st.lists(judgement, max_size=2)
GOOD = [finding(Verdict.OK, subject=name, latched=latched) for name in "ab" for latched in (False, True)]


class Alerts(RuleBasedStateMachine):
    """One alert lives through windows; some come late, some are judged again, people interfere."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine("score", AlertRules(recover=2))
        self.inhibited = False
        self.checked = 0
        self.began: set[str] = set()
        self.episode = 0

    @property
    def cause(self) -> str | None:
        return "a root cause" if self.inhibited else None

    @rule(findings=windows)
    def a_window_comes(self, findings: list[Finding]) -> None:
        before = self.machine.alert
        told = self.machine.see(*findings, inhibited_by=self.cause)
        if all(one.verdict is Verdict.INCONCLUSIVE for one in findings):
            assert not told, "no evidence moves nothing"
            after = self.machine.alert
            assert (None if before is None else before.state) == (None if after is None else after.state)

    @precondition(lambda self: self.machine.day)
    @rule(findings=windows, data=st.data())
    def late_rows_come(self, findings: list[Finding], data: st.DataObject) -> None:
        day = data.draw(st.integers(0, self.machine.day - 1))
        before, known = self.machine.alert, len(self.machine.told)
        self.machine.revise(day, *findings, inhibited_by=self.cause)
        after = self.machine.alert
        if before is not None and before.is_open and after is not None and not after.is_open:
            assert after.state is AlertState.RESOLVED
            assert all(map(self._has_recovered, before.open_tracks())), "only good windows resolve"
        again, told = self.machine.alert, len(self.machine.told)
        self.machine.revise(day, *findings, inhibited_by=self.cause)
        assert told >= known
        if again is None or again.is_open:
            assert self.machine.told[told:] == [], "the same revision tells nothing twice"
            assert self.machine.alert == again

    def _has_recovered(self, track: str) -> bool:
        """Whether a track has seen what closes it, a good latched window or two good ones in a row, since it opened."""
        _, subject, *slow = track.split(":")
        row, needed = 0, 1 if slow else self.machine.rules.recover
        for findings in self.machine.windows:
            own = [f.verdict for f in findings if f.subject == subject and f.latched == bool(slow)]
            if conclusive := [one for one in own if one is not Verdict.INCONCLUSIVE]:
                row = row + 1 if set(conclusive) == {Verdict.OK} else 0
            if row >= needed:
                return True
        return False

    @rule()
    def somebody_silences_or_ends_the_silence(self) -> None:
        self.machine.silenced = not self.machine.silenced

    @rule()
    def a_root_cause_comes_or_goes(self) -> None:
        self.inhibited = not self.inhibited

    @precondition(lambda self: self.machine.alert is not None and self.machine.alert.is_open)
    @rule()
    def somebody_acknowledges(self) -> None:
        self.machine.acknowledge()

    @invariant()
    def episodes_go_forward(self) -> None:
        alert = self.machine.alert
        if alert is not None:
            assert alert.episode >= self.episode
            self.episode = alert.episode
        assert not [one for one in self.machine.ended if one.state in OPEN], "at most one episode is open"

    @invariant()
    def what_is_told_has_a_begin_and_muted_alerts_tell_nothing_but_their_end(self) -> None:
        for _, transition in self.machine.history[self.checked :]:
            if transition.tell is Reason.FIRST:
                self.began.add(transition.alert.thread_key)
            if transition.tell is not None:
                assert transition.alert.thread_key in self.began
            if transition.tell in LOUD:
                assert not self.machine.silenced
                assert not self.inhibited
        self.checked = len(self.machine.history)

    @invariant()
    def the_state_is_what_the_tracks_say(self) -> None:
        alert = self.machine.alert
        if alert is not None:
            assert alert.is_open == bool(alert.open_tracks())
            if alert.is_open:
                assert alert.opened_window_start is not None
                assert alert.resolved_window_start is None

    @precondition(lambda self: self.machine.alert is not None)
    @rule()
    def good_windows_end_everything(self) -> None:
        for _ in range(self.machine.rules.n + self.machine.rules.recover):
            self.machine.see(*GOOD, inhibited_by=self.cause)
        alert = self.machine.alert
        assert alert is not None
        assert not alert.tracks
        assert not alert.is_open


TestAlerts = Alerts.TestCase
TestAlerts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_judging_a_window_again_with_the_same_result_changes_nothing_at_all() -> None:
    machine = Machine()
    machine.see()
    machine.see()
    machine.revise(0, finding(Verdict.WARNING))
    machine.revise(1, finding(Verdict.WARNING))
    before = machine.alert
    assert before is not None
    assert before.is_open
    assert machine.revise(1, finding(Verdict.WARNING)) == []
    assert machine.alert == before


def test_what_good_windows_wiped_out_is_not_kept_with_an_ended_alert() -> None:
    machine = Machine("score", AlertRules(recover=2))
    machine.see()
    machine.revise(0, finding(Verdict.WARNING, subject="a"), finding(Verdict.CRITICAL, subject="b"))
    for _ in range(4):
        machine.see(*GOOD)
    assert machine.alert is not None
    assert machine.alert.state is AlertState.RESOLVED
    assert machine.alert.tracks == {}


marks = st.lists(st.sampled_from(".wc?"), min_size=1, max_size=12)


def arrivals(truth: Sequence[str], provisional: Mapping[int, str], delays: Mapping[int, int]) -> Machine:
    """Show windows in order, some first with another verdict, and judge those again so many windows later."""
    machine = Machine()
    pending = dict(delays)
    for day, mark in enumerate(truth):
        machine.see_all(provisional.get(day, mark))
        for late in [late for late, delay in pending.items() if late + delay <= day]:
            pending.pop(late)
            machine.revise_to(_known(machine, late, truth))
    for late in sorted(pending):
        machine.revise_to(_known(machine, late, truth))
    return machine


def _known(machine: Machine, late: int, truth: Sequence[str]) -> str:
    shown = {Verdict.OK: ".", Verdict.WARNING: "w", Verdict.CRITICAL: "c", Verdict.INCONCLUSIVE: "?"}
    known = [shown[day[0].verdict] for day in machine.windows]
    known[late] = truth[late]
    return "".join(known)


late = st.dictionaries(st.integers(0, 11), st.tuples(st.sampled_from(".wc?"), st.integers(0, 12)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(marks, late)
def test_windows_that_come_late_leave_the_state_that_they_would_have_left_in_order(
    truth: list[str], revisions: dict[int, tuple[str, int]]
) -> None:
    revisions = {day: one for day, one in revisions.items() if day < len(truth)}
    lived = arrivals(truth, {d: m for d, (m, _) in revisions.items()}, {d: n for d, (_, n) in revisions.items()})
    ideal = arrivals(truth, {}, {})
    # what was opened by verdicts that do not hold any more is open until good windows close it; nothing else differs
    if not (lived.alert is not None and lived.alert.is_open):
        assert ideal.alert is None or not ideal.alert.is_open
    both: list[dict[str, Any]] = []
    for machine in (lived, ideal):
        machine.see_all("." * 6)
        assert machine.alert is None or not machine.alert.is_open
        machine.see_all("ww")
        assert machine.alert is not None
        both.append({"state": machine.alert.state, "tracks": machine.alert.tracks})
    assert both[0] == both[1]


@settings(max_examples=200, deadline=None)
@given(marks, late, st.randoms(use_true_random=False))
def test_the_order_in_which_revisions_arrive_does_not_change_the_tracks(
    truth: list[str], revisions: dict[int, tuple[str, int]], shuffle: Any
) -> None:
    """Nothing that people were told is in the way here: tracks are walked through as the first judgement left them."""
    days = [day for day in revisions if day < len(truth)]
    shown = [revisions[day][0] if day in days else mark for day, mark in enumerate(truth)]
    rules = AlertRules()

    def judged(marks_: Sequence[str]) -> list[Judged]:
        one = Machine()
        one.see_all("".join(marks_))
        return [Judged(window=window(day), findings=found) for day, found in enumerate(one.windows)]

    memories = list(walk({}, judged(shown), rules).after)
    shuffle.shuffle(days)
    for day in days:
        shown[day] = truth[day]
        memories[day:] = walk(memories[day - 1] if day else {}, judged(shown)[day:], rules).after
    assert memories == list(walk({}, judged(truth), rules).after)
