"""Rules of windows that are judged again: the past is corrected, people hear what is new, only good windows resolve."""

from __future__ import annotations

import pytest

from monitor.alert import AlertRules, AlertState
from monitor.check import Severity, Verdict
from monitor.notification import Reason
from tests.unit.alerts import Machine, finding, window

FIRST, REOPENED, ESCALATED, RESOLVED = Reason.FIRST, Reason.REOPENED, Reason.ESCALATED, Reason.RESOLVED


@pytest.mark.parametrize(
    ("seen", "revised", "state", "told", "rule"),
    [
        ("....", "....", None, [], "the same verdict changes nothing"),
        ("..w.", "..w.", "pending", [], "a bad window that is judged again is no second one"),
        ("ww..", "ww..", "recovering", [FIRST], "a message that people have is not sent again"),
        ("..w.", ".ww.", "recovering", [FIRST], "an alert that only now opens is told once"),
        ("...", ".c.", "recovering", [FIRST], "a critical window opens it whenever it is seen"),
        ("..w", "...", "inactive", [], "a pending alert goes back"),
        ("ww", ".w", "firing", [FIRST], "an opening that does not hold any more resolves nothing by itself"),
        ("ww.", "...", "recovering", [FIRST], "nor do two good windows, one of which opened it"),
        ("ww..", "....", "resolved", [FIRST, RESOLVED], "three good windows do, from the one that opened it on"),
        ("ww..w", "ww...", "resolved", [FIRST, RESOLVED], "the third good window may be one that was judged again"),
        ("ww...", "ww..w", "firing", [FIRST, RESOLVED, REOPENED], "a resolution that does not hold is taken back"),
        ("ww....", "ww..w.", "recovering", [FIRST, RESOLVED, REOPENED], "also when windows have passed since"),
        ("ww...ww", "wwwwwww", "firing", [FIRST, RESOLVED, REOPENED], "what is open goes on, with an earlier begin"),
        (".......", ".ww....", "resolved", [], "what came and went in the past is told nobody"),
        ("ww??", "ww?w", "firing", [FIRST], "windows that told nothing may tell something later"),
        ("ww.", "ww?", "firing", [FIRST], "and the other way round"),
    ],
)
def test_judging_windows_again_moves_an_alert_by_the_rules(
    seen: str, revised: str, state: str | None, told: list[Reason], rule: str
) -> None:
    machine = Machine()
    machine.see_all(seen)
    machine.revise_to(revised)
    assert (machine.state, machine.reasons) == (state, told), rule
    if seen == revised:
        machine.revise(0, finding(machine.windows[0][0].verdict))
        assert (machine.state, machine.reasons) == (state, told), rule


def test_a_resolution_that_is_taken_back_goes_on_in_its_episode() -> None:
    machine = Machine()
    machine.see_all("ww...")
    machine.revise_to("ww..w")
    assert machine.alert is not None
    assert machine.alert.episode == 1
    assert (machine.alert.opened_window_start, machine.alert.resolved_window_start) == (window(1).start, None)
    assert [(t.from_state, t.to_state) for _, t in machine.history[-2:]] == [
        (AlertState.RESOLVED, AlertState.FIRING),
        (AlertState.FIRING, AlertState.FIRING),
    ]


def test_an_earlier_begin_corrects_the_window_in_which_an_episode_opened() -> None:
    machine = Machine()
    machine.see_all("...ww")
    machine.revise_to(".wwww")
    assert machine.alert is not None
    assert (machine.alert.episode, machine.alert.opened_window_start) == (1, window(2).start)
    assert machine.reasons == [FIRST]


def test_what_came_and_went_is_an_episode_of_the_past() -> None:
    machine = Machine()
    machine.see_all(".......")
    changed = machine.revise_to(".ww....")
    assert machine.alert is not None
    found = machine.alert
    assert (found.state, found.opened_window_start, found.resolved_window_start) == (
        AlertState.RESOLVED,
        window(2).start,
        window(5).start,
    )
    assert (found.severity, found.title) == (Severity.WARNING, "54 % came true, 23 % were expected")
    assert "where it came and went" in changed[-1].reason


def test_a_revision_that_makes_it_critical_is_told_as_that_and_once() -> None:
    machine = Machine()
    machine.see_all("ww.")
    machine.revise(1, finding(Verdict.CRITICAL, severity=Severity.CRITICAL))
    assert machine.reasons == [FIRST, ESCALATED]
    machine.revise(1, finding(Verdict.CRITICAL, severity=Severity.CRITICAL))
    assert machine.reasons == [FIRST, ESCALATED]


def test_no_time_passes_by_a_revision_so_nothing_is_repeated() -> None:
    machine = Machine(rules=AlertRules())
    machine.see_all("cc", severity=Severity.CRITICAL)
    told = list(machine.reasons)
    for _ in range(5):
        machine.revise(0, finding(Verdict.CRITICAL, severity=Severity.CRITICAL))
    assert machine.reasons == told


def test_an_alert_that_opens_by_a_revision_while_silenced_or_inhibited_is_told_afterwards() -> None:
    silenced = Machine()
    silenced.see_all("..w.")
    silenced.silenced = True
    assert [t.tell for t in silenced.revise_to(".ww.")] == [None]
    silenced.silenced = False
    silenced.see_all("w")
    assert silenced.reasons == [FIRST]
    inhibited = Machine("score")
    inhibited.see_all("..w.")
    inhibited.revise(1, finding(Verdict.WARNING), inhibited_by="root")
    assert (inhibited.state, inhibited.reasons) == ("recovering", [])


def test_what_the_slow_path_says_of_a_window_now_counts() -> None:
    machine = Machine()
    machine.see(finding(Verdict.WARNING, latched=True))
    machine.see(finding(Verdict.WARNING, latched=True))
    machine.revise(1, finding(Verdict.OK, latched=True))
    assert (machine.state, machine.reasons) == ("resolved", [FIRST, RESOLVED])


def test_windows_of_another_training_profile_begin_anew() -> None:
    from monitor.track import Judged, walk

    bad = finding(Verdict.WARNING)
    windows = [Judged(window=window(i), findings=[bad], reference=r) for i, r in enumerate(["old", "new"])]
    assert not walk({}, windows, AlertRules(), reference="old").opened
    assert walk({}, windows[:1] * 2, AlertRules(), reference="old").opened


def test_a_revision_leaves_an_acknowledgement_alone() -> None:
    machine = Machine()
    machine.see_all("ww.")
    machine.acknowledge()
    machine.revise_to("www")
    assert machine.alert is not None
    assert machine.alert.acknowledged_by == "ada"
