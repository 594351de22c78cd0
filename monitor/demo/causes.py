"""What happened in the demo's year: every dated cause that an alert may name, and the query that shows it.

The queries run on the demo's own store: ``monitor query --config DIR/monitor.yaml "…"``. Each returns a column
``shown`` that is true where the data show the cause; a test runs them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

DAILY = """\
WITH daily AS (
    SELECT (p.occurred_at AT TIME ZONE 'America/New_York')::date AS day, count(*) AS flights,
           avg(o.was_late::int)::numeric(4, 3) AS late, avg(p.p_late)::numeric(4, 3) AS predicted,
           avg((o.request_id IS NULL)::int)::numeric(4, 3) AS never_arrived,
           avg(p.temp)::numeric(5, 1) AS temp, avg(p.dewp)::numeric(5, 1) AS dewp,
           avg(p.humid)::numeric(5, 1) AS humid, min(p.visib) AS lowest_visib, max(p.precip) AS highest_precip,
           avg((p.temp IS NULL)::int)::numeric(4, 3) AS no_weather
    FROM serving.predictions p LEFT JOIN serving.outcomes o USING (request_id)
    GROUP BY 1)
"""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Something dated that an alert may be about; ``since`` and ``until`` are local days, both included.

    ``families`` are the subjects that it may open (a prefix is enough); ``injected`` marks what the demo added.
    """

    name: str
    since: date
    until: date
    families: tuple[str, ...]
    happened: str
    query: str
    injected: bool = False

    def explains(self, family: str, day: date) -> bool:
        """Return whether an alert of ``family`` that opened with the window of ``day`` may be about this."""
        return self.since <= day <= self.until and any(family.startswith(prefix) for prefix in self.families)


def daily(columns: str, where: str, shown: str) -> str:
    """Return a query for the facts of single days, one row each."""
    return f"{DAILY}SELECT day, flights, {columns}, {shown} AS shown\nFROM daily WHERE {where} ORDER BY day"


OUTCOME = ("outcome", "calibration")
SCORE = ("score", "feature", "label")

CAUSES: tuple[Cause, ...] = (
    Cause(
        name="March snowstorm",
        since=date(2013, 3, 6),
        until=date(2013, 3, 8),
        families=OUTCOME,
        happened="A nor'easter brought wind on 6 March and snow on the 8th: 79 % of the flights that arrived were "
        "late, and one in five never arrived. The model saw bad weather (.34), but not that much of it.",
        query=daily(
            "late, predicted, never_arrived, lowest_visib, highest_precip",
            "day = '2013-03-08'",
            "late > 0.75 AND never_arrived > 0.15 AND lowest_visib <= 0.5",
        ),
    ),
    Cause(
        name="March and April rain",
        since=date(2013, 3, 12),
        until=date(2013, 4, 19),
        families=OUTCOME,
        happened="Rain and low cloud on 12, 18 and 19 March and on 10–12, 18 and 19 April: around half of the flights "
        "were late.",
        query=daily(
            "late, predicted, humid, lowest_visib, highest_precip",
            "day IN ('2013-03-18', '2013-03-19', '2013-04-12', '2013-04-18', '2013-04-19')",
            "late > 0.4 AND late - predicted > 0.1",
        ),
    ),
    Cause(
        name="April furlough of air traffic controllers",
        since=date(2013, 4, 22),
        until=date(2013, 4, 26),
        families=OUTCOME,
        happened="From 21 to 27 April the aviation authority put air traffic controllers on unpaid leave and spaced "
        "the flights out. From Monday to Friday 39–57 % were late in ordinary weather, while the model went on saying "
        "11–31 %; on Saturday the 27th it was over. Nothing in the inputs shows it: this is concept drift, known from "
        "outcomes alone.",
        query=daily(
            "late, predicted, late - predicted AS unforeseen, temp, humid, no_weather",
            "day BETWEEN '2013-04-22' AND '2013-04-27'",
            "(late > 0.38 AND late > predicted) = (day < '2013-04-27')",
        ),
    ),
    Cause(
        name="Dry days, then damp ones",
        since=date(2013, 4, 27),
        until=date(2013, 5, 19),
        families=(*SCORE, *OUTCOME),
        happened="From 27 April to 5 May the air is dry, and nearly every day the model says .10–.16 (training: .22). "
        "Then rain from 8 to 11 May: .31–.42, rightly on the 8th.",
        query=daily(
            "predicted, late, humid, dewp, highest_precip",
            "day IN ('2013-04-27', '2013-05-01', '2013-05-03', '2013-05-04', '2013-05-08', '2013-05-09', '2013-05-11')",
            "(humid > 75) = (predicted > 0.3) AND (humid < 60) = (predicted < 0.16)",
        ),
    ),
    Cause(
        name="Summer is outside the training data",
        since=date(2013, 5, 20),
        until=date(2013, 10, 13),
        families=SCORE,
        happened="Training saw January and February: nothing warmer than 64.4 °F and no dew point above 57.2 °F. From "
        "June to August most flights are beyond both, and the model answers all of them with the probabilities of a "
        "mild, damp winter day: its mean rises from .22 to .30.",
        query="""\
SELECT date_trunc('month', occurred_at AT TIME ZONE 'America/New_York')::date AS month, count(*) AS flights,
       avg((temp > 64.4)::int)::numeric(4, 3) AS warmer_than_training,
       avg((dewp > 57.2)::int)::numeric(4, 3) AS damper_than_training, avg(p_late)::numeric(4, 3) AS predicted,
       avg((temp > 64.4)::int) > 0.85 AND avg(p_late) > 0.29 AS shown
FROM serving.predictions WHERE occurred_at >= '2013-06-01 04:00Z' AND occurred_at < '2013-09-01 04:00Z'
GROUP BY 1 ORDER BY 1""",
    ),
    Cause(
        name="Summer thunderstorms",
        since=date(2013, 5, 22),
        until=date(2013, 8, 14),
        families=OUTCOME,
        happened="Thunderstorms on 23 May, 10 and 13 June, from 24 June to 10 July, on 22–23 July, 8–9 and 13 August: "
        "42–69 % late. The model warns more than in winter, but not by as much.",
        query=daily(
            "late, predicted, never_arrived, highest_precip",
            "day IN ('2013-05-23', '2013-06-13', '2013-06-30', '2013-07-01', '2013-08-08', '2013-08-09')",
            "late > 0.5 AND late - predicted > 0.05",
        ),
    ),
    Cause(
        name="Autumn is punctual, and the model does not know it",
        since=date(2013, 8, 15),
        until=date(2013, 12, 4),
        families=(*OUTCOME, "recommendation"),
        happened="In September 13 % are late and in October 17 %, but the model goes on saying 26 %, because warm and "
        "damp days still get the probabilities of summer. Over both months always saying the base rate would be "
        "better than the model (negative Brier skill): here refitting or recalibrating is due.",
        query="""\
SELECT date_trunc('month', p.occurred_at AT TIME ZONE 'America/New_York')::date AS month, count(*) AS flights,
       avg(o.was_late::int)::numeric(4, 3) AS late, avg(p.p_late)::numeric(4, 3) AS predicted,
       (1 - avg((p.p_late - o.was_late::int) ^ 2) / var_pop(o.was_late::int))::numeric(4, 3) AS brier_skill,
       avg(p.p_late) - avg(o.was_late::int) > 0.08 AND avg((p.p_late - o.was_late::int) ^ 2) > var_pop(o.was_late::int)
       AS shown
FROM serving.predictions p JOIN serving.outcomes o USING (request_id)
WHERE p.occurred_at >= '2013-09-01 04:00Z' AND p.occurred_at < '2013-11-01 04:00Z'
GROUP BY 1 ORDER BY 1""",
    ),
    Cause(
        name="A week in °C (injected)",
        since=date(2013, 10, 14),
        until=date(2013, 10, 20),
        families=("quality", "sudden", "score", "recommendation"),
        injected=True,
        happened="Injected by the demo: temp and dewp arrive in °C. 16.5 °F is an ordinary winter day, so nothing "
        "leaves its range; but the mean falls by 46 degrees over night, to values that were never seen before.",
        query="""\
WITH means AS (
    SELECT avg(temp) FILTER (WHERE occurred_at < '2013-10-14 04:00Z') AS temp_before,
           avg(temp) FILTER (WHERE occurred_at >= '2013-10-14 04:00Z') AS temp_in_the_week,
           avg(dewp) FILTER (WHERE occurred_at < '2013-10-14 04:00Z') AS dewp_before,
           avg(dewp) FILTER (WHERE occurred_at >= '2013-10-14 04:00Z') AS dewp_in_the_week
    FROM serving.predictions WHERE occurred_at >= '2013-10-07 04:00Z' AND occurred_at < '2013-10-21 04:00Z')
SELECT temp_before::numeric(5, 1), temp_in_the_week::numeric(5, 1),
       (temp_in_the_week * 1.8 + 32)::numeric(5, 1) AS temp_if_it_was_celsius, dewp_before::numeric(5, 1),
       dewp_in_the_week::numeric(5, 1), (dewp_in_the_week * 1.8 + 32)::numeric(5, 1) AS dewp_if_it_was_celsius,
       f.sentence,
       temp_before - temp_in_the_week > 40 AND abs(temp_before - (temp_in_the_week * 1.8 + 32)) < 10 AS shown
FROM means, serving.injected_faults f WHERE f.name = 'celsius'""",
    ),
    Cause(
        name="December storms",
        since=date(2013, 12, 5),
        until=date(2013, 12, 23),
        families=OUTCOME,
        happened="Fog on 5 December, snow and ice from 8 to 10, snow on 14 and 17 December: 54–77 % late where the "
        "model said 19–40 %.",
        query=daily(
            "late, predicted, never_arrived, temp, humid, lowest_visib",
            "day IN ('2013-12-05', '2013-12-08', '2013-12-09', '2013-12-10', '2013-12-14', '2013-12-17')",
            "late > 0.5 AND late - predicted > 0.1 AND lowest_visib <= 1",
        ),
    ),
    Cause(
        name="No weather at the end of the year",
        since=date(2013, 12, 30),
        until=date(2013, 12, 31),
        families=("quality", "score"),
        happened="The weather table ends on 30 December at 18:00: from 19:00 on and on the whole of 31 December every "
        "weather column is empty.",
        query=daily(
            "no_weather, late, predicted",
            "day >= '2013-12-29'",
            "no_weather BETWEEN CASE day WHEN '2013-12-31' THEN 1 WHEN '2013-12-30' THEN 0.1 ELSE 0 END AND "
            "CASE day WHEN '2013-12-31' THEN 1 WHEN '2013-12-30' THEN 0.2 ELSE 0 END",
        ),
    ),
)

LEAK_QUERY = """\
SELECT process, min(sampled_at) AS since, (min(rss_bytes) / 1e6)::int AS lowest_mb,
       (max(rss_bytes) / 1e6)::int AS highest_mb,
       max(rss_bytes) > 1.5 * min(rss_bytes) AS shown
FROM monitor.resource_history GROUP BY process"""
"""The injected leak; it runs in the present, not in 2013, and needs about a minute to show."""


def explanations(family: str, day: date, causes: Sequence[Cause] = CAUSES) -> list[Cause]:
    """Return the causes that an alert of a family may be about that opened with the window of a local day.

    >>> [cause.name for cause in explanations("outcome", date(2013, 4, 23))]
    ['April furlough of air traffic controllers']
    """
    return [cause for cause in causes if cause.explains(family, day)]


def markdown(causes: Sequence[Cause] = CAUSES) -> str:
    """Return the causes as the section of ``docs/demo.md``; a test compares the two."""
    parts = []
    for cause in causes:
        span = f"{cause.since:%-d %B}" + ("" if cause.since == cause.until else f" to {cause.until:%-d %B}")
        parts.append(f"### {cause.name}\n\n*{span}.* {cause.happened}\n\n```sql\n{cause.query}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown())
