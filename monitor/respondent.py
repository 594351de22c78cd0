"""Respondents: whoever answers the rows of the gate: a function, an endpoint, a column of the file, the logs."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray

from monitor.deployment import EndpointSection
from monitor.endpoint import Endpoint
from monitor.golden import Columns, Floats, Predict
from monitor.installation import Monitored
from monitor.source import SourceError
from monitor.sources.answers import read_answers
from monitor.sources.frame import FrameError, column_of, numbers_of
from monitor.sources.session import connect

LOG = "log"
ENDPOINT = "endpoint"
ADDRESS = re.compile(r"(v2|mlflow|json):(https?://.+)")


class RespondentError(Exception):
    """Nobody answers as was asked for; the message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Respondent:
    """One version of a model; ``predict`` is None where it has answered already.

    ``shakable`` says that it may be asked with noise: an endpoint that serves production may not.
    """

    said: str
    predict: Predict | None = None
    shakable: bool = False

    @property
    def column(self) -> str | None:
        """The column of the inputs that holds its scores."""
        return self.said if self.predict is None and self.said != LOG else None


def respondent(said: str, watched: Monitored, *, is_candidate: bool) -> Respondent:
    """Return who answers; raises RespondentError.

    ``said`` is ``module:function``, ``endpoint`` (the configured one), ``v2:URL``, ``mlflow:URL`` or ``json:URL``,
    ``log``, or a column's name.
    """
    address = ADDRESS.fullmatch(said)
    classes = len(watched.section.source.prediction.scores or ())
    if said == ENDPOINT:
        serving, candidate = watched.section.serving, watched.section.release.endpoint
        section = candidate if is_candidate else None if serving is None else serving.endpoint
        if section is None:
            key = "release.endpoint" if is_candidate else "serving.endpoint"
            raise RespondentError(f"{watched.name} has no {key}; configure it, or give v2:URL or mlflow:URL.")
        return _asked(said, section, classes)
    if address is not None:
        return _asked(said, EndpointSection.model_validate({"protocol": address[1], "url": address[2]}), classes)
    if ":" in said:
        return Respondent(said=said, predict=function(said, classes), shakable=True)
    return Respondent(said=said)


def _asked(said: str, section: EndpointSection, classes: int) -> Respondent:
    endpoint = Endpoint(section=section, classes=classes)
    return Respondent(said=said, predict=endpoint, shakable=not section.production)


def scores_of(
    one: Respondent,
    rows: pa.Table,
    path: Path,
    features: Columns,
    watched: Monitored,
    dsn: str,
    *,
    role: str,
    version: str,
) -> Floats:
    """Return what a version answered to each row, (N,) or (N, classes); NaN where the logs have no answer of it."""
    classes = len(watched.section.source.prediction.scores or ())
    if one.predict is not None:
        return one.predict(features)
    if one.said != LOG:
        return predictions_of(column_of(rows, path, one.said), one.said, classes)
    key = watched.section.source.id
    ids = [None if value is None else str(value) for value in column_of(rows, path, key).to_pylist()]
    try:
        with connect(dsn, autocommit=True) as conn:
            of = None if role == "champion" else version
            logged = read_answers(
                conn, watched.section.source, model=watched.name, role=role, since=None, until=None, version=of
            )
    except psycopg.OperationalError as error:
        raise SourceError(f"The logs of {watched.name} cannot be read: {str(error).splitlines()[0]}.") from error
    unknown = (math.nan,) * classes if classes else math.nan
    found = np.array([logged[i].score if i in logged else unknown for i in ids], np.float64)
    if not np.isfinite(found).any():
        whose = role if role == "champion" else f"{role} {version}"
        raise RespondentError(f"The logs of {watched.name} have no answer of the {whose} to any row of {path}.")
    return found


def predictions_of(column: pa.ChunkedArray, name: str, classes: int) -> Floats:
    """Return a column of scores or numbers, (N,), or of lists with one probability for each class, (N, classes).

    Raises FrameError for anything else.
    """
    if not classes:
        return numbers_of(column, name)
    rows = column.to_pylist()
    if any(not isinstance(row, list) or len(row) != classes for row in rows):
        raise FrameError(f"The column {name} is {column.type}; give lists of {classes} probabilities, one by class.")
    return np.array(rows, np.float64)


def function(named: str, classes: int = 0) -> Predict:
    """Return a function of columns around ``module:function``, which takes a frame and returns scores.

    With ``classes`` it is to return one probability for each, (N, classes).
    """
    called = imported(named)

    def predict(columns: Columns) -> Floats:
        rows, said = called_on(called, named, columns)
        scores = np.asarray(said, np.float64)
        if scores.shape != ((rows, classes) if classes else (rows,)):
            what = f"{classes} probabilities" if classes else "one score"
            raise RespondentError(
                f"{named} returned shape {scores.shape}; it must return {what} for each of {rows} rows."
            )
        return scores

    return predict


def transform(named: str) -> Callable[[Columns], Mapping[str, NDArray[Any]]]:
    """Return a function of columns around ``module:function``, which takes a frame and returns one of features."""
    called = imported(named)

    def transformed(columns: Columns) -> Mapping[str, NDArray[Any]]:
        rows, found = called_on(called, named, columns)
        names = list(getattr(found, "columns", found if isinstance(found, Mapping) else ()))
        if not names or any(len(found[name]) != rows for name in names):
            raise RespondentError(f"{named} returned no frame of {rows} rows; it must return the features of each row.")
        return {str(name): np.asarray(found[name]) for name in names}

    return transformed


def imported(named: str) -> Callable[[Any], Any]:
    """Return ``module:function`` from the working directory or the path; raises RespondentError."""
    module, _, name = named.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        called: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RespondentError(f"{named} cannot be imported ({what}); give module:function on the path.") from error
    finally:
        sys.path.pop(0)
    return called


def called_on(called: Callable[[Any], Any], named: str, columns: Columns) -> tuple[int, Any]:
    """Return how many rows a frame of the columns has, and what a function says to it; raises RespondentError."""
    import pandas as pd

    frame = pd.DataFrame(dict(columns))
    try:
        return len(frame), called(frame)
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RespondentError(f"{named} failed on the given rows ({what}); try it on them.") from error
