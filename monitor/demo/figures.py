"""Every figure about the demo's data that README and docs quote: ``python -m monitor.demo.figures DIR``.

Runs in a process of its own, because it needs pandas and scikit-learn. What the monitor made of the data is in the
store of a replay and is printed by ``monitor demo`` itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.metrics import log_loss, roc_auc_score

from monitor.demo import flights
from monitor.demo.fault import CELSIUS
from monitor.demo.flights import Flights

Figures = Mapping[str, float]
STORMS = (date(2013, 3, 8), date(2013, 12, 5), date(2013, 12, 8), date(2013, 12, 9), date(2013, 12, 10))
FURLOUGH = tuple(date(2013, 4, day) for day in range(22, 28))
YEARS_END = (date(2013, 12, 30), date(2013, 12, 31))


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have an outcome, with ``late`` as 0 or 1 and the local ``day``."""
    known = rows[rows["was_late"].notna()].copy()
    known["late"] = known["was_late"].astype(float)
    return known


def local_days(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their local ``day``."""
    return rows.assign(day=rows["occurred_at"].dt.tz_convert(flights.ZONE).dt.date)


def cost(said: pd.Series, late: pd.Series) -> float:
    """Return USD per prediction for answers and truths: a miss costs 13, a false alarm 7.

    >>> cost(pd.Series([True, False]), pd.Series([0.0, 1.0]))
    10.0
    """
    answer = said.to_numpy(dtype=bool)
    truth = late.to_numpy(dtype=float)
    return float(np.mean(flights.FALSE_ALARM * answer * (1 - truth) + flights.MISSED * ~answer * truth))


def quality(known: pd.DataFrame) -> Figures:
    """Return what a set of labelled rows comes to."""
    late, p = known["late"], known["p_late"]
    base = float(late.mean())
    return {
        "rows": len(known),
        "late": base,
        "predicted": float(p.mean()),
        "AUC": float(roc_auc_score(late, p)) if 0 < base < 1 else float("nan"),
        "log loss": float(log_loss(late, p, labels=[0, 1])),
        "Brier skill": 1 - float(((p - late) ** 2).mean()) / (base * (1 - base)),
        "cost": cost(known["said_late"], late),
        "never": flights.MISSED * base,
        "always": flights.FALSE_ALARM * (1 - base),
    }


def by_set(prepared: Flights) -> dict[str, Figures]:
    """Return the quality on training (out-of-fold), held-out and production rows."""
    sets = {
        "January to 14 February, out-of-fold": prepared.training_rows(),
        "15 to 28 February, held out": prepared.holdout_rows(),
        "March to December, production": prepared.labelled_production(),
    }
    return {name: quality(labelled(rows.to_pandas())) for name, rows in sets.items()}


def by_month(production: pd.DataFrame) -> dict[str, Figures]:
    """Return the quality of each month of production."""
    known = labelled(production)
    months = pd.to_datetime(known["day"]).dt.strftime("%B")
    return {str(month): quality(rows) for month, rows in known.groupby(months, sort=False)}


def by_day(production: pd.DataFrame, days: Sequence[date]) -> dict[str, Figures]:
    """Return what happened on single days; ``late`` is the share of the flights that arrived."""
    found: dict[str, Figures] = {}
    for day in days:
        rows = production[production["day"] == day]
        known = labelled(rows)
        found[f"{day:%-d %B}"] = {
            "flights": len(rows),
            "late": float(known["late"].mean()),
            "predicted": float(rows["p_late"].mean()),
            "never arrived": 1 - len(known) / len(rows),
            "without weather": float(rows["temp"].isna().mean()),
        }
    return found


def celsius_week(production: pd.DataFrame) -> dict[str, Figures]:
    """Return means of the injected week beside the weeks before and after."""
    found: dict[str, Figures] = {}
    for name, first in (("before", -7), ("injected", 0), ("after", 7)):
        since = pd.Timestamp(CELSIUS.since) + pd.Timedelta(days=first)
        days = pd.to_datetime(production["day"])
        rows = production[(days >= since) & (days < since + pd.Timedelta(days=7))]
        found[f"week {name}"] = {
            "temp": float(rows["temp"].mean()),
            "dewp": float(rows["dewp"].mean()),
            "predicted": float(rows["p_late"].mean()),
            "late": float(labelled(rows)["late"].mean()),
        }
    return found


def outside_training(prepared: Flights, production: pd.DataFrame) -> dict[str, Figures]:
    """Return the share of flights by month that are warmer or damper than anything in January and February."""
    seen = pd.concat([prepared.training_rows().to_pandas(), prepared.holdout_rows().to_pandas()])
    highest = {name: float(seen[name].max()) for name in ("temp", "dewp")}
    months = pd.to_datetime(production["day"]).dt.strftime("%B")
    found: dict[str, Figures] = {"highest in training": dict(highest)}
    for month, rows in production.groupby(months, sort=False):
        found[str(month)] = {name: float((rows[name] > limit).mean()) for name, limit in highest.items()}
    return found


def tables(prepared: Flights) -> dict[str, dict[str, Figures]]:
    """Return all figures: title → row → column → value."""
    production = local_days(prepared.labelled_production().to_pandas())
    known = labelled(production)
    share = known.groupby("day")["late"].mean()
    return {
        "The champion, cut-off 0.35; costs in USD per prediction": by_set(prepared),
        "Its quality by month": by_month(production),
        "In-sample, for comparison": {"January to 14 February": prepared.figures["quality"]["in_sample"]},
        "The furlough of air traffic controllers": by_day(production, FURLOUGH),
        "Storms": by_day(production, STORMS),
        "The days with most delays": by_day(production, sorted(share.nlargest(8).index)),
        "The end of the year": by_day(production, YEARS_END),
        "The injected week in °C": celsius_week(production),
        "Flights warmer (°F) or with a higher dew point (°F) than all of training": outside_training(
            prepared, production
        ),
        "Size": {
            "production": {
                "predictions": len(production),
                "outcomes": len(known),
                "never labelled": len(production) - len(known),
                "days": production["day"].nunique(),
            }
        },
    }


def show(prepared: Flights, console: Console) -> None:
    """Print all figures."""
    for title, rows in tables(prepared).items():
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        table.add_column("")
        for name in names:
            table.add_column(name, justify="right")
        for row, values in rows.items():
            table.add_row(row, *(_written(values.get(name)) for name in names))
        console.print(table)
        console.print()


def _written(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


if __name__ == "__main__":
    show(flights.load(Path(sys.argv[1])), Console(width=120))
