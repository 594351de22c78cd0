from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alert import AlertRules, AlertState, Identity
from monitor.check import Finding, Severity, ThresholdSource, Verdict
from monitor.notification import Reason
from monitor.track import turbulence
from tests.unit.alerts import Machine, finding, window


@pytest.mark.parametrize(
    ("marks", "state", "rule"),
    [
        ("....", None, "nothing wrong makes no alert"),
        ("w", "pending", "one bad window only makes it pending"),
        ("w.w", "firing", "two bad windows of three make it fire"),
        ("ww", "firing", "two bad windows of two make it fire"),
        ("w..w", "pending", "two bad windows of four do not"),
        ("w...", "inactive", "a pending alert goes back once the bad window is out of sight"),
        ("c", "firing", "a critical window fires at once"),
        ("ww.", "recovering", "one good window begins the recovery"),
        ("ww..w", "firing", "a bad window ends the recovery"),
        ("ww...", "resolved", "three good windows resolve it"),
        ("ww..w..", "recovering", "recovery starts anew after a bad window"),
        ("ww????????", "firing", "windows that tell nothing never resolve it"),
        ("ww.?.?.", "resolved", "windows that tell nothing do not interrupt the good ones"),
        ("w?????w", "firing", "windows that tell nothing do not count among the three"),
        ("????", None, "windows that tell nothing make no alert"),
        ("ww...w", "pending", "after resolution it begins at one bad window again"),
        ("ww...c", "firing", "a critical window opens it again at once"),
    ],
)
def test_windows_move_an_alert_by_the_rules(marks: str, state: str | None, rule: str) -> None:
    machine = Machine()
    machine.see_all(marks)
    assert machine.state == state, rule


def test_an_opening_is_told_once_and_its_resolution_answers_in_the_thread() -> None:
    machine = Machine()
    machine.see_all("wwwww....")
    assert machine.told == [(1, Reason.FIRST, False), (7, Reason.RESOLVED, True)]
    assert machine.alert is not None
    assert machine.alert.notifications_sent == 2


def test_nothing_is_told_of_information() -> None:
    machine = Machine()
    machine.see_all("cccc....", severity=Severity.INFO)
    assert machine.state == "resolved"
    assert machine.told == []


def test_an_opening_within_28_windows_in_the_same_direction_belongs_to_the_thread() -> None:
    machine = Machine()
    machine.see_all("c..." + "." * 27 + "c")
    assert [reason for _, reason, _ in machine.told] == [Reason.FIRST, Reason.RESOLVED, Reason.REOPENED]
    assert machine.messages == [0]
    assert machine.alert is not None
    assert machine.alert.episode == 2
    assert machine.alert.thread_key.endswith("-1")


def test_an_opening_after_28_windows_is_a_new_message() -> None:
    machine = Machine()
    machine.see_all("c..." + "." * 28 + "c")
    assert machine.messages == [0, 32]
    assert machine.alert is not None
    assert machine.alert.thread_key.endswith("-2")


def test_an_opening_in_the_other_direction_is_a_new_message() -> None:
    machine = Machine()
    machine.see_all("c...")
    machine.see_all("c", direction=-1)
    assert machine.messages == [0, 4]


def test_an_opening_without_direction_belongs_to_any_thread() -> None:
    machine = Machine()
    machine.see_all("c...")
    machine.see_all("c", direction=0)
    assert machine.messages == [0]


def test_a_change_that_turns_while_open_supersedes_the_episode() -> None:
    machine = Machine()
    machine.see_all("c")
    machine.see(finding(Verdict.WARNING), finding(Verdict.WARNING, latched=True, direction=-1))
    assert machine.messages == [0, 1]
    assert [(a.state, a.episode) for a in machine.ended] == [(AlertState.SUPERSEDED, 1)]
    assert machine.alert is not None
    assert (machine.alert.direction, machine.alert.episode) == (-1, 2)


def test_a_change_that_turns_back_goes_on_in_its_first_thread() -> None:
    machine = Machine()
    machine.see_all("c...")
    machine.see_all("c...", direction=-1)
    machine.see_all("c")
    assert machine.messages == [0, 4]
    assert machine.told[-1] == (8, Reason.REOPENED, True)


def test_a_latched_finding_opens_at_once_and_closes_when_the_check_says_so() -> None:
    machine = Machine()
    machine.see(finding(Verdict.WARNING, latched=True))
    assert machine.state == "firing"
    machine.see(finding(Verdict.INCONCLUSIVE, latched=True))
    assert machine.state == "firing"
    machine.see(finding(Verdict.OK, latched=True))
    assert machine.state == "resolved"


def test_an_alert_stays_open_until_its_last_track_closes() -> None:
    machine = Machine()
    machine.see(finding(Verdict.CRITICAL), finding(Verdict.WARNING, latched=True))
    for _ in range(3):
        machine.see(finding(Verdict.OK), finding(Verdict.WARNING, latched=True))
    assert machine.state == "firing"
    machine.see(finding(Verdict.OK), finding(Verdict.OK, latched=True))
    assert machine.state == "resolved"


def test_windows_of_other_subjects_do_not_add_up() -> None:
    machine = Machine("quality:weather")
    machine.see(finding(Verdict.WARNING, subject="temp"), finding(Verdict.OK, subject="dewp"))
    machine.see(finding(Verdict.OK, subject="temp"), finding(Verdict.WARNING, subject="dewp"))
    assert machine.state == "pending"


def test_as_many_new_columns_as_before_are_a_new_message_about_a_source() -> None:
    machine = Machine("quality:weather")
    machine.see(finding(Verdict.CRITICAL, subject="temp"), finding(Verdict.CRITICAL, subject="dewp"))
    machine.see(finding(Verdict.CRITICAL, subject="humid"))
    assert machine.messages == [0]
    machine.see(*[finding(Verdict.CRITICAL, subject=name) for name in ("visib", "precip", "wind")])
    assert machine.messages == [0, 2]


def test_twice_the_effect_of_the_first_seven_windows_is_one_new_message() -> None:
    machine = Machine()
    for smoothed in [0.1] * 7 + [0.19, 0.2, 0.3]:
        machine.see(finding(Verdict.CRITICAL, details={"smoothed": smoothed}))
    assert machine.messages == [0, 8]
    for smoothed in [0.3] * 6 + [0.6]:
        machine.see(finding(Verdict.CRITICAL, details={"smoothed": smoothed}))
    assert machine.messages == [0, 8, 16]


def test_growth_within_seven_windows_of_a_message_is_no_new_one() -> None:
    machine = Machine()
    for smoothed in [0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]:
        machine.see(finding(Verdict.CRITICAL, details={"smoothed": smoothed}))
    assert machine.messages == [0]


def test_a_rise_in_severity_is_a_new_message() -> None:
    machine = Machine()
    machine.see_all("ww")
    machine.see_all("c", severity=Severity.CRITICAL)
    assert machine.told[-1] == (2, Reason.ESCALATED, False)


def test_the_severity_of_an_episode_never_falls() -> None:
    machine = Machine()
    machine.see_all("c", severity=Severity.CRITICAL)
    machine.see_all("www")
    assert machine.alert is not None
    assert machine.alert.severity is Severity.CRITICAL


def test_critical_alerts_are_repeated_ever_more_rarely_in_the_thread_and_others_never() -> None:
    machine = Machine(rules=AlertRules())
    machine.see_all("c" * 20, severity=Severity.CRITICAL)
    assert machine.told == [(0, Reason.FIRST, False)] + [(day, Reason.REPEATED, True) for day in (1, 4, 11, 18)]
    calm = Machine(rules=AlertRules())
    calm.see_all("c" * 20)
    assert calm.messages == [0]


def test_while_inhibited_nobody_is_told_and_afterwards_what_is_left_is_told() -> None:
    machine = Machine("score")
    for _ in range(3):
        machine.see(finding(Verdict.CRITICAL), inhibited_by="root")
    assert machine.state == "firing"
    assert machine.told == []
    machine.see(finding(Verdict.CRITICAL))
    assert machine.told == [(3, Reason.FIRST, False)]


def test_an_alert_that_ends_while_inhibited_is_never_told() -> None:
    machine = Machine("score")
    machine.see(finding(Verdict.CRITICAL), inhibited_by="root")
    for _ in range(3):
        machine.see(finding(Verdict.OK), inhibited_by="root")
    assert machine.state == "resolved"
    assert machine.told == []


def test_a_stale_alert_says_since_when() -> None:
    machine = Machine()
    machine.see_all("c??")
    assert machine.alert is not None
    assert machine.alert.stale_since == window(1).start
    machine.see_all("c")
    assert machine.alert.stale_since is None


@pytest.mark.parametrize(
    ("values", "state", "rule"),
    [
        ([0.3, 0.3, 0.1, 0.1, 0.1], "resolved", "values well below the threshold resolve it"),
        ([0.3, 0.3, 0.1, 0.24, 0.1, 0.1], "recovering", "a value within a tenth of the threshold is no good window"),
        ([0.3, 0.3, 0.24, 0.24, 0.24, 0.24], "firing", "values that stay just below the threshold resolve nothing"),
        ([0.24, 0.24, 0.24], None, "values just below the threshold open nothing"),
        ([0.3, 0.24, 0.3], "firing", "nor do they keep the windows around them from counting"),
    ],
)
def test_a_plain_threshold_is_left_by_a_margin(values: list[float], state: str | None, rule: str) -> None:
    machine = Machine()
    for value in values:
        verdict = Verdict.WARNING if value > 0.25 else Verdict.OK
        machine.see(finding(verdict, value=value, threshold=0.25, threshold_source=ThresholdSource.CONFIGURED))
    assert machine.state == state, rule


def test_the_margin_lies_on_the_good_side_whichever_that_is() -> None:
    machine = Machine()
    for p_value in [0.01, 0.01, 0.054, 0.2, 0.2, 0.2]:  # a p-value is bad below its threshold
        verdict = Verdict.WARNING if p_value < 0.05 else Verdict.OK
        machine.see(finding(verdict, value=p_value, threshold=0.05, threshold_source=ThresholdSource.CONFIGURED))
        if machine.day == 5:
            assert machine.state == "recovering"
    assert machine.state == "resolved"


def test_a_threshold_from_the_budget_has_no_margin() -> None:
    machine = Machine()
    machine.see_all("ww")
    machine.see_all("...", value=0.24, threshold=0.25, threshold_source=ThresholdSource.BUDGET)
    assert machine.state == "resolved"


def test_an_acknowledged_alert_is_not_repeated_until_the_acknowledgement_runs_out() -> None:
    machine = Machine(rules=AlertRules())
    machine.see_all("c", severity=Severity.CRITICAL)
    machine.acknowledge(days=3)
    machine.see_all("ccc", severity=Severity.CRITICAL)
    assert machine.reasons == [Reason.FIRST]
    machine.see_all("c", severity=Severity.CRITICAL)
    assert machine.reasons == [Reason.FIRST, Reason.REPEATED]
    assert machine.alert is not None
    assert machine.alert.acknowledged_by is None
    assert "not acknowledged any more: its time is over" in [t.reason for _, t in machine.history]


def test_an_alert_that_gets_worse_is_acknowledged_no_more() -> None:
    machine = Machine()
    machine.see_all("ww")
    machine.acknowledge()
    machine.see_all("w")
    assert machine.alert is not None
    assert machine.alert.acknowledged_by == "ada"
    machine.see_all("c", severity=Severity.CRITICAL)
    assert machine.alert.acknowledged_by is None
    assert machine.reasons[-1] is Reason.ESCALATED
    assert "not acknowledged any more: it is critical now" in [t.reason for _, t in machine.history]


def test_an_acknowledgement_is_of_one_episode() -> None:
    machine = Machine()
    machine.see_all("ww")
    machine.acknowledge(days=30)
    machine.see_all("...ww")
    assert machine.alert is not None
    assert (machine.alert.episode, machine.alert.acknowledged_by) == (2, None)


QUICK = AlertRules(k=1, n=1, recover=1, repeat={})


def test_an_alert_that_opens_and_closes_all_the_time_says_so_once_and_is_muted() -> None:
    machine = Machine(rules=QUICK)
    machine.see_all("w." * 15)
    flapping = machine.reasons.index(Reason.FLAPPING)
    assert set(machine.reasons[:flapping]) == {Reason.FIRST, Reason.RESOLVED, Reason.REOPENED}
    assert machine.reasons[flapping:] == [Reason.FLAPPING]
    assert machine.alert is not None
    assert machine.alert.flapping


def test_more_than_half_of_the_last_twenty_verdicts_must_change_and_newer_ones_weigh_more() -> None:
    assert turbulence("ggggggggggbgbgbgbgbg") > 0.5
    assert turbulence("bgbgbgbgbggggggggggg") < 0.5
    assert turbulence("bbbgggbbbgggbbbgggbb") < 0.5
    quiet = Machine(rules=QUICK)
    quiet.see_all("www..." * 8)
    assert Reason.FLAPPING not in quiet.reasons


def test_once_calm_what_is_still_open_is_told() -> None:
    machine = Machine(rules=QUICK)
    machine.see_all("w." * 10)
    machine.see_all("w" * 20)
    assert machine.reasons[-2:] == [Reason.FLAPPING, Reason.REOPENED]
    assert machine.alert is not None
    assert not machine.alert.flapping


def test_once_calm_what_is_over_is_told_too() -> None:
    machine = Machine(rules=QUICK)
    machine.see_all("w." * 10)
    machine.see_all("." * 20)
    assert machine.told[-1][1:] == (Reason.RESOLVED, True)
    assert machine.reasons[-2:] == [Reason.FLAPPING, Reason.RESOLVED]
    machine.see_all("." * 20)
    assert machine.reasons[-2:] == [Reason.FLAPPING, Reason.RESOLVED]


def test_flapping_mutes_no_rise_to_critical() -> None:
    machine = Machine(rules=QUICK)
    machine.see_all("w." * 10)
    machine.see_all("c", severity=Severity.CRITICAL)
    assert machine.reasons[-2:] == [Reason.FLAPPING, Reason.ESCALATED]


def test_a_changed_configuration_is_noted_and_the_episode_goes_on() -> None:
    machine = Machine(stage="outcomes", config="old")
    machine.see_all("ww")
    machine.identity = Machine(stage="outcomes", config="new").identity
    (noted, *_) = machine.see(finding(Verdict.WARNING))
    assert (noted.reason, noted.tell) == ("the configuration changed; it goes on under the new one", None)
    assert machine.alert is not None
    assert (machine.alert.episode, machine.state) == (1, "firing")
    assert machine.see(finding(Verdict.WARNING)) == []


def test_the_key_does_not_depend_on_figures_or_versions() -> None:
    one = Identity(model="m", family="outcome", model_version="1")
    assert one.key == Identity(model="m", family="outcome", model_version="2").key
    assert one.key != Identity(model="m", family="score").key
    assert one.key != Identity(model="m", family="outcome", slice={"origin": "JFK"}).key


seen = st.lists(
    st.lists(
        st.builds(
            finding,
            st.sampled_from(list(Verdict)),
            subject=st.sampled_from(["a", "b"]),
            latched=st.booleans(),
            direction=st.sampled_from([-1, 0, 1]),
            severity=st.sampled_from(list(Severity)),
        ),
        max_size=3,
    ),
    max_size=25,
)


@settings(max_examples=50, deadline=None)
@given(seen)
def test_the_same_windows_in_the_same_order_give_the_same_state_whatever_the_order_of_findings(
    windows: list[list[Finding]],
) -> None:
    one, other = Machine(), Machine()
    for findings in windows:
        one.see(*findings)
        other.see(*reversed(findings))
    assert one.history == other.history
    assert one.alert == other.alert


@settings(max_examples=50, deadline=None)
@given(seen)
def test_every_told_thread_starts_with_a_message_and_only_told_alerts_are_resolved_aloud(
    windows: list[list[Finding]],
) -> None:
    machine = Machine()
    for findings in windows:
        machine.see(*findings)
    started: set[str] = set()
    for _, transition in machine.history:
        if transition.tell is None:
            continue
        if transition.tell is Reason.FIRST:
            started.add(transition.alert.thread_key)
        assert transition.alert.thread_key in started


def test_an_episode_keeps_the_earliest_beginning_with_its_interval() -> None:
    def told(day: int, earliest: int | None) -> Finding:
        ends = {"earliest": None if earliest is None else window(earliest).start.isoformat()}
        ends["latest"] = window(day + 1).start.isoformat()
        return finding(Verdict.WARNING, latched=True, began_at=window(day).start, details={"began": ends})

    machine = Machine()
    machine.see(told(-3, -5))
    machine.see(told(-1, None))
    alert = machine.alert
    assert alert is not None
    assert (alert.began_at, alert.began_earliest, alert.began_latest) == tuple(
        window(day).start for day in (-3, -5, -2)
    )
    machine.see(told(-9, None))
    assert machine.alert is not None
    assert (machine.alert.began_at, machine.alert.began_earliest) == (window(-9).start, None)
