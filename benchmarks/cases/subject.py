"""The four real streams of the case studies: what each is about and what a person knows who looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.design import streams
from benchmarks.design.streams import Stream
from monitor.challenger import FOLDS, fit_predict, matrix_of
from monitor.source import Floats

LONGEST = 120.0  # minutes; a taxi ride that took longer is a meter that was not switched off


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One case: its stream, the page's first words, and what an operator says to advice on data.

    ``known`` holds, by column, what a person who looks into it finds: data that are right. Such advice is dismissed,
    all other stays open. ``pays`` says whether retraining is right at all.
    """

    name: str
    title: str
    stream: Callable[[], Stream]
    about: str
    grain: str
    """What a row is, and a window."""
    window: str
    """The window of the configuration, in YAML."""
    known: Mapping[str, str] = field(default_factory=dict)
    pays: bool = True


def taxi() -> Stream:
    """Return the taxi rides with a champion that is fitted to the absolute error, on rides of at most two hours.

    The rides that took longer stay in production, as they are logged.
    """
    stream = streams.taxi()
    batch = stream.batch
    assert batch.label is not None
    matrix = matrix_of([batch])[0]
    sane = (batch.label > 0) & (batch.label <= LONGEST)
    fit = sane & (stream.place < stream.fitted)
    later = stream.place >= stream.fitted
    score: Floats = np.full(batch.rows, np.nan)
    score[later] = fit_predict(stream.task, matrix[fit], batch.label[fit], matrix[later])
    for block in np.array_split(np.arange(stream.fitted), min(FOLDS, stream.fitted)):
        inside = np.isin(stream.place, block)
        use = fit & ~inside
        score[inside] = fit_predict(stream.task, matrix[use], batch.label[use], matrix[inside])
    return replace(stream, batch=replace(batch, score=score))


def electricity() -> Stream:
    """Return the market's rows until the end of 1997: with 1998 the story only goes on, and takes twice as long."""
    stream = streams.electricity()
    kept = sum(window.start.year < 1998 for window in stream.windows)
    inside = stream.place < kept
    return replace(
        stream, batch=streams.take(stream.batch, inside), windows=stream.windows[:kept], place=stream.place[inside]
    )


SUBJECTS: Mapping[str, Subject] = {
    one.name: one
    for one in (
        Subject(
            name="electricity",
            title="Electricity: a market that changes its rules",
            stream=electricity,
            about="Every half hour of the electricity market of New South Wales, May 1996 to December 1997: will the "
            "price be above its mean of the last day? In May 1997 the market of Victoria joined, in June prices "
            "collapsed. The model knows May to September 1996.",
            grain="a row is half an hour, a window a day",
            window="{calendar: day, timezone: UTC}",
        ),
        Subject(
            name="bank",
            title="Bank marketing: from one customer in twenty to every second",
            stream=streams.bank,
            about="41,188 calls of a Portuguese bank, May 2008 to November 2010, in order: does the customer take the "
            "deposit? The share who do goes from 3 % to half during the financial crisis. Only the month of a call is "
            "known, so a window is 220 calls in a row and called a week. The model knows the first of them, all of May "
            "2008. How long a call took is left out, because nobody knows it before.",
            grain="a row is a call, a window 220 of them",
            window="{calendar: week, timezone: UTC}",
            known={
                "month": "June follows May",
                "emp_var_rate": "the macro figures are those of the month, as published",
                "contact": "from July on people are called on their mobile phones as well",
            },
        ),
        Subject(
            name="taxi",
            title="New York taxis: empty streets that no feature shows",
            stream=taxi,
            about="Every sixth ride of New York's green taxis, March to June 2020: how many minutes will it take? The "
            "city closed on 22 March. Rides are as long as before, start and end at the same places and hours, and "
            "take less time because nobody else is on the road. The model knows the first ten days of March.",
            grain="a row is a ride, a window a day",
            window="{calendar: day, timezone: UTC}",
        ),
        Subject(
            name="occupancy",
            title="Room sensors: everything drifts, and nothing pays",
            stream=streams.occupancy,
            about="Temperature, humidity, light and carbon dioxide of an office by the minute, February 2015: is "
            "somebody there? Two weekends, a week in which it got colder, and a gap. The model knows four days.",
            grain="a row is a minute, a window an hour",
            window="{calendar: hour, timezone: UTC}",
            pays=False,
        ),
    )
}
