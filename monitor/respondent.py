"""Respondents: whoever answers the rows of the gate: a function, an endpoint, a column of the file, the logs."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa

from monitor.deployment import EndpointSection
from monitor.endpoint import Endpoint
from monitor.golden import Columns, Floats, Predict
from monitor.installation import Monitored
from monitor.source import SourceError
from monitor.sources.answers import read_answers
from monitor.sources.frame import column_of, numbers_of
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
    if said == ENDPOINT:
        serving, candidate = watched.section.serving, watched.section.release.endpoint
        section = candidate if is_candidate else None if serving is None else serving.endpoint
        if section is None:
            key = "release.endpoint" if is_candidate else "serving.endpoint"
            raise RespondentError(f"{watched.name} has no {key}; configure it, or give v2:URL or mlflow:URL.")
        return Respondent(said=said, predict=Endpoint(section=section), shakable=not section.production)
    if address is not None:
        section = EndpointSection.model_validate({"protocol": address[1], "url": address[2]})
        return Respondent(said=said, predict=Endpoint(section=section), shakable=not section.production)
    if ":" in said:
        return Respondent(said=said, predict=function(said), shakable=True)
    return Respondent(said=said)


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
    """Return what a version answered to each row, (N,); NaN where the logs have no answer of it."""
    if one.predict is not None:
        return one.predict(features)
    if one.said != LOG:
        return numbers_of(column_of(rows, path, one.said), one.said)
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
    found = np.array([logged[i].score if i in logged else math.nan for i in ids], np.float64)
    if not np.isfinite(found).any():
        whose = role if role == "champion" else f"{role} {version}"
        raise RespondentError(f"The logs of {watched.name} have no answer of the {whose} to any row of {path}.")
    return found


def function(named: str) -> Predict:
    """Return a function of columns around ``module:function``, which takes a frame and returns scores."""
    module, _, name = named.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        called: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RespondentError(f"{named} cannot be imported ({what}); give module:function on the path.") from error
    finally:
        sys.path.pop(0)

    def predict(columns: Columns) -> Floats:
        import pandas as pd

        frame = pd.DataFrame(dict(columns))
        try:
            scores = np.asarray(called(frame), np.float64)
        except Exception as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RespondentError(f"{named} failed on the given rows ({what}); try it on them.") from error
        if scores.shape != (len(frame),):
            raise RespondentError(
                f"{named} returned shape {scores.shape}; it must return one score for each of {len(frame)} rows."
            )
        return scores

    return predict
