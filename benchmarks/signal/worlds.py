"""Worlds with a known truth: windows of rows, drawn from seeds, in which nothing is wrong or one thing goes wrong.

Every feature has a latent normal value per row: its window's effect (season, natural variation) plus noise. Numeric
features transform it, categorical ones cut it. So a shift of d is d standard deviations of single rows in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.special import expit, stdtrit
from scipy.stats import norm

from monitor.source import Batch, Bools, CategoryValues, Floats, Ints, NumericValues, Values
from monitor.window import CalendarUnit, Window, WindowSpec

EPOCH = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday
NORMAL = ("normal0", "normal1", "normal2", "normal3")
SKEWED = ("skewed0", "skewed1")
ZEROS = ("zeros0",)
CUTS = {"two0": 2, "five0": 5, "many0": 20}
FEATURES = (*NORMAL, *SKEWED, *ZEROS, *CUTS)
WEIGHTS = {"normal0": 0.8, "skewed0": 0.5, "five0": 0.4}  # of the latent values in the log-odds; the others have none
UPSTREAMS = {"one": NORMAL[:2], "two": (*NORMAL[2:], *SKEWED), "three": (*ZEROS, *CUTS)}
TRAINED = 56  # daily windows
HOURS = 14 * 24
NEW = "new value"


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What goes wrong from production window ``at`` on, in one feature or in the relation to the label."""

    kind: str
    size: float = 0.0
    feature: str = "normal0"
    at: int = 40
    lasts: int | None = None
    """Windows until all is well again."""

    def strength(self, t: int) -> float:
        """Return how much of it there is in a production window, 0 to 1."""
        since = t - self.at
        if since < 0 or (self.lasts is not None and since >= self.lasts):
            return 0.0
        if self.kind == "ramp":
            return min(1.0, (since + 1) / 60)
        if self.kind == "recurring":
            return float(since % 28 < 5)
        return 1.0


@dataclass(frozen=True, kw_only=True)
class World:
    """A stream of windows: how they vary when nothing is wrong, and what goes wrong."""

    name: str
    n: int
    production: int = 300
    natural: float = 0.0
    """Standard deviation of a window's effect, in standard deviations of a row."""
    rho: float = 0.0
    weekend: float = 0.0
    hourly: float = 0.0
    """Height of a daily wave; windows are hours then."""
    tails: bool = False
    """Windows' effects and rows have t distributions with three degrees of freedom."""
    traffic: bool = False
    shared: float = 0.0
    """Correlation of features, of rows as of windows."""
    cluster: int = 1
    """Rows that share one value of half of the features."""
    holidays: bool = False
    """One day in thirty is shifted by half a standard deviation in half of the features."""
    told: bool = False
    """The monitor knows which."""
    drift: Drift | None = None
    seed: int = 0

    @property
    def trained(self) -> int:
        return HOURS if self.hourly else TRAINED

    @property
    def spec(self) -> WindowSpec:
        return WindowSpec(calendar=CalendarUnit.HOUR if self.hourly else CalendarUnit.DAY)

    @property
    def windows(self) -> list[Window]:
        pace = timedelta(hours=1) if self.hourly else timedelta(days=1)
        return [
            Window(start=EPOCH + i * pace, end=EPOCH + (i + 1) * pace) for i in range(self.trained + self.production)
        ]

    @property
    def per_month(self) -> float:
        return self.spec.per_month

    @property
    def months(self) -> float:
        return self.production / self.per_month

    @property
    def dates(self) -> frozenset[str]:
        """The holidays that the monitor is told of."""
        if not self.told:
            return frozenset()
        _, holiday = self.effects(np.random.default_rng([self.seed, self.n]))
        return frozenset(w.start.date().isoformat() for w, on in zip(self.windows, holiday, strict=True) if on)

    def effects(self, rng: np.random.Generator) -> tuple[Floats, Bools]:
        """Return every window's effect on every feature, shape (windows, features), and which are holidays."""
        T, F = self.trained + self.production, len(FEATURES)
        shape = (T + 50, F)
        noise = stdtrit(3, rng.random(shape)) / np.sqrt(3) if self.tails else rng.standard_normal(shape)
        if self.shared:
            noise = np.sqrt(1 - self.shared) * noise + np.sqrt(self.shared) * rng.standard_normal((len(noise), 1))
        moved = np.zeros_like(noise)
        for t in range(len(noise)):
            moved[t] = self.rho * moved[t - 1] + np.sqrt(1 - self.rho**2) * noise[t]
        effect = self.natural * moved[50:]
        t = np.arange(T)
        half = np.arange(F) % 2 == 0
        effect += self.weekend * np.outer(t % 7 >= 5, half)
        effect += self.hourly * np.outer(np.sin(2 * np.pi * t / 24), half)
        holiday = rng.random(T) < 1 / 30 if self.holidays else np.zeros(T, np.bool_)
        effect += 0.5 * np.outer(holiday, half)
        return effect, holiday

    def sizes(self, rng: np.random.Generator) -> Ints:
        """Return every window's rows."""
        T = self.trained + self.production
        if not self.traffic:
            return np.full(T, self.n)
        weekend = np.where(np.arange(T) % 7 >= 5, 0.2, 1.0)
        return np.maximum(30, self.n * weekend * np.exp(0.15 * rng.standard_normal(T))).astype(np.int64)

    def parts(self, most: int = 300_000) -> Iterator[tuple[int, int, Batch, Ints]]:
        """Yield pieces of the stream: first window, number of windows, rows, and each row's window in the piece.

        The first piece is all of training.
        """
        rng = np.random.default_rng([self.seed, self.n])
        (effects, _), sizes = self.effects(rng), self.sizes(rng)
        T = self.trained + self.production
        yield 0, self.trained, *self._rows(0, self.trained, effects, sizes, rng)
        step = max(1, most // int(sizes.max()))
        for first in range(self.trained, T, step):
            number = min(step, T - first)
            yield first, number, *self._rows(first, number, effects, sizes, rng)

    def _rows(
        self, first: int, number: int, effects: Floats, sizes: Ints, rng: np.random.Generator
    ) -> tuple[Batch, Ints]:
        n = sizes[first : first + number]
        place = np.repeat(np.arange(number), n)
        rows, F = len(place), len(FEATURES)
        noise = rng.standard_normal((rows, F))
        if self.shared:
            noise = np.sqrt(1 - self.shared) * noise + np.sqrt(self.shared) * rng.standard_normal((rows, 1))
        if self.cluster > 1:
            starts = np.repeat(np.cumsum(n) - n, n)
            inside = np.arange(rows) - starts
            noise[:, ::2] = noise[starts + inside // self.cluster * self.cluster, ::2]
        latent = effects[first + place] + noise
        production = first + place - self.trained
        strength = np.zeros(rows)
        if self.drift is not None and first >= self.trained:
            levels = np.array([self.drift.strength(first + i - self.trained) for i in range(number)])
            strength = levels[place]
        own = np.random.default_rng([self.seed, self.n, first, 1])  # so that a drift changes no other draw
        columns, logit = self._columns(latent, strength, own)
        score = expit(logit)
        truth = self._truth(logit, latent, strength)
        label = (rng.random(rows) < expit(truth)).astype(np.float64)
        inside = np.arange(rows) - np.repeat(np.cumsum(n) - n, n)
        width = 3_600_000_000 if self.hourly else 86_400_000_000
        start = round(EPOCH.timestamp() * 1e6) + (first + place) * width
        time = start + (inside * width) // np.maximum(n[place], 1)
        assert production.max(initial=0) < self.production
        return Batch(rows=rows, time=time, columns=columns, score=score, label=label), place

    def _truth(self, logit: Floats, latent: Floats, strength: Floats) -> Floats:
        """Return the log-odds of the label: what the model states, until the relation itself changes."""
        match None if self.drift is None else self.drift.kind:
            case "concept":
                return np.where(strength > 0, -logit, logit)
            case "level":
                return logit + self.drift.size * strength  # type: ignore[union-attr]  # there is one
            case "weight":
                return logit + self.drift.size * strength * latent[:, FEATURES.index(self.drift.feature)]  # type: ignore[union-attr]
            case _:
                return logit

    def _columns(self, latent: Floats, strength: Floats, rng: np.random.Generator) -> tuple[dict[str, Values], Floats]:
        """Return the columns and the log-odds that the model states."""
        drift, on = self.drift, strength > 0
        at = {name: j for j, name in enumerate(FEATURES)}
        if drift is not None and on.any():
            j = at[drift.feature]
            if drift.kind in ("mean", "ramp", "benign", "recurring"):
                latent[:, j] += drift.size * strength
            elif drift.kind == "scale":
                latent[:, j] = np.where(on, latent[:, j] * drift.size, latent[:, j])
            elif drift.kind == "correlation":
                other = latent[:, at["normal1"]]
                latent[:, j] = np.where(
                    on, drift.size * other + np.sqrt(1 - drift.size**2) * latent[:, j], latent[:, j]
                )
        logit = -1.0 + sum(weight * latent[:, at[name]] for name, weight in WEIGHTS.items())
        rows = len(latent)
        columns: dict[str, Values] = {}
        for name in FEATURES:
            x = latent[:, at[name]]
            if name in CUTS:
                levels = CUTS[name]
                shares = 1 / (1.0 + np.arange(levels))
                codes = np.searchsorted(norm.ppf(np.cumsum(shares / shares.sum())[:-1]), x).astype(np.int32)
                names = [f"v{i}" for i in range(levels)]
                if drift is not None and drift.kind == "new category" and name == drift.feature:
                    names.append(NEW)
                    codes[on & (rng.random(rows) < drift.size)] = levels
                columns[name] = CategoryValues(codes=codes, categories=names)
                continue
            if name in SKEWED:
                x = np.exp(x)
            elif name in ZEROS:
                x = np.maximum(0.0, x - 0.84)
            elif self.tails:
                x = np.sinh(1.2 * x)
            missing = np.zeros(rows, np.bool_)
            if drift is not None and name == drift.feature:
                if drift.kind == "unit":
                    x = np.where(on, x * drift.size, x)
                elif drift.kind == "missing":
                    missing = on & (rng.random(rows) < drift.size)
                    x = np.where(missing, np.nan, x)
            columns[name] = NumericValues(values=x, missing=missing)
        return columns, logit


VARYING = {"natural": 0.04, "rho": 0.6, "weekend": 0.15}
NULLS: dict[str, dict[str, object]] = {
    "iid": {},
    "weekly season": {"natural": 0.04, "weekend": 0.15},
    "daily season (hours)": {"natural": 0.04, "hourly": 0.3},
    "autocorrelated": VARYING,
    "variable traffic": {**VARYING, "traffic": True},
    "correlated features": {**VARYING, "shared": 0.7},
    "clustered rows": {**VARYING, "cluster": 20},
    "heavy tails": {"natural": 0.08, "weekend": 0.15, "tails": True},
    "holidays": {**VARYING, "holidays": True},
    "holidays told": {**VARYING, "holidays": True, "told": True},
}
DRIFTS = (
    Drift(kind="mean", size=0.1),
    Drift(kind="mean", size=0.25),
    Drift(kind="mean", size=0.5),
    Drift(kind="ramp", size=0.5),
    Drift(kind="scale", size=1.25),
    Drift(kind="new category", size=0.02, feature="five0"),
    Drift(kind="missing", size=0.3, lasts=5),
    Drift(kind="unit", size=100.0, feature="skewed0"),
    Drift(kind="correlation", size=0.5, feature="normal2"),
    Drift(kind="benign", size=0.5, feature="normal3"),
    Drift(kind="concept"),
    Drift(kind="recurring", size=0.5),
)


def null(name: str, n: int, seed: int, production: int = 300) -> World:
    """Return a world in which nothing goes wrong."""
    return World(name=name, n=n, seed=seed, production=production, **NULLS[name])  # type: ignore[arg-type]  # fields by name


def drifting(drift: Drift, n: int, seed: int, *, varying: bool, production: int = 100) -> World:
    """Return a world in which one thing goes wrong."""
    base = null("autocorrelated" if varying else "iid", n, seed, production)
    return replace(base, drift=drift)
