"""Rules of what is told after an outage: one message, and nothing in it is lost."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.check import Severity
from monitor.collapse import MOST_OTHERS, combine, unheard
from monitor.notification import Notification, Reason
from tests.peers import notification


def about(
    number: int, *keys: str, reason: Reason = Reason.FIRST, severity: str = "warning", model: str = "flights"
) -> Notification:
    return notification(
        model=model,
        id=UUID(int=number),
        title=f"no. {number}",
        alert_keys=keys,
        thread_key=f"thread {number}",
        reason=reason,
        severity=Severity(severity),
    )


def test_the_newest_message_stays_as_it_is_where_it_is_about_the_same() -> None:
    newest = about(3, "a", "b", reason=Reason.RESOLVED)
    assert combine(newest, [about(1, "a"), about(2, "b")]) is newest
    assert combine(newest, []) is newest


def test_what_is_open_comes_before_what_is_over_and_is_as_loud_as_it_was() -> None:
    told = combine(about(2, "b", reason=Reason.RESOLVED, severity="info"), [about(1, "a", severity="critical")])
    assert (told.id, told.title, told.reason, told.severity) == (UUID(int=2), "no. 1", Reason.FIRST, Severity.CRITICAL)
    assert "Resolved: no. 2" in told.summary
    assert tuple(told.alert_keys) == ("a", "b")
    assert not told.in_thread


def test_a_recommendation_does_not_replace_another_one() -> None:
    told = combine(about(2, reason=Reason.RECOMMENDATION), [about(1, reason=Reason.RECOMMENDATION)])
    assert "Recommendation: no. 1" in told.summary


def test_a_digest_takes_the_place_of_all_before_it_of_the_same_model() -> None:
    newest = about(2, reason=Reason.DIGEST)
    assert combine(newest, [about(1, "a", reason=Reason.DIGEST)]) is newest


def test_digests_of_several_models_become_one_that_names_each_and_those_with_open_alerts_first() -> None:
    older = [about(number, reason=Reason.DIGEST, model=f"model-{number:02d}") for number in range(20)]
    older.append(about(20, "open", reason=Reason.DIGEST, model="zebra"))
    told = combine(about(99, reason=Reason.DIGEST), [about(98, reason=Reason.DIGEST), *older])
    assert (told.id, told.reason) == (UUID(int=99), Reason.DIGEST)
    assert told.title == "no. 99, and digests of 21 other models"
    assert all(one.model in told.summary for one in older)
    assert told.summary.index("zebra") < told.summary.index("model-00")
    assert "no. 98" not in told.summary
    assert tuple(told.alert_keys) == ("open",)


def test_more_subjects_than_a_message_can_name_are_counted() -> None:
    told = combine(about(99, "last"), [about(number, f"k{number}") for number in range(MOST_OTHERS + 3)])
    assert "and 3 more" in told.summary


@settings(max_examples=50, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=8))
def test_every_subject_is_told_by_the_last_message_about_it(keys: list[frozenset[str]]) -> None:
    messages = [about(number, *sorted(some)) for number, some in enumerate(keys)]
    *older, newest = messages
    kept = [newest, *unheard(newest, older)]
    for key in frozenset[str]().union(*keys):
        last = max(number for number, some in enumerate(keys) if key in some)
        assert messages[last] in kept
