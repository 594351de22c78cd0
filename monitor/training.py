"""From training files to a training profile: reads, refuses with reasons, and completes what files do not hold.

Runs in the process of ``monitor profile`` alone: it fits models (scikit-learn) where scores are missing.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from monitor.advice import registration_notes
from monitor.config import ModelSection
from monitor.outcome import Task
from monitor.reference import Reference, build_reference, cut_rows, cut_timeline
from monitor.slicing import FEWEST_ROWS, MOST_GROUPS, OTHER
from monitor.source import Batch, Floats, Ints, concatenate
from monitor.sources import arrow, frame
from monitor.sources.arrow import Decoding
from monitor.sources.frame import FrameError

SAMPLE_ROWS = 10_000  # enough for Evidently, small enough to keep
GOLDEN_ROWS = 500
MOST_NAMED = 10  # of columns in a remark
PACKAGES = (
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "xgboost",
    "lightgbm",
    "catboost",
    "torch",
    "tensorflow",
    "onnx",
)
GOOD, TOO_GOOD = 0.05, 0.15  # lead over unseen time, as a share of the loss, that is remarkable or cannot be honest


@dataclass(frozen=True, kw_only=True)
class Training:
    """A finished training profile with the rows kept beside it."""

    reference: Reference
    sample: bytes
    """Parquet: a uniform sample of training rows with label and score, for Evidently."""
    golden: bytes
    """Parquet: rows with the champion's own scores, for parity; empty without any."""
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One file's rows with its times."""

    table: pa.Table
    time: Ints
    name: str


def train(
    model: str,
    section: ModelSection,
    rows: pa.Table,
    *,
    source: str,
    features: Mapping[str, Decoding],
    holdout: pa.Table | None = None,
    version: str,
    time_column: str | None,
    importance: Mapping[str, float] | None = None,
    now: datetime,
    progress: Callable[[str, float], None],
) -> Training:
    """Return the training profile of ``rows`` (and ``holdout``); raises FrameError with the reason it cannot be.

    ``features`` are the logged features and how each is decoded: each must be in the file. Scores given in the
    training rows must be out-of-fold; where there are none, stand-ins are fitted in contiguous blocks of time.
    ``progress`` is told what is going on and how far it is, from 0 to 1.
    """
    progress("reading columns", 0.05)
    if not rows.num_rows:
        raise FrameError(f"{source} has no rows; give the rows that the model was trained on.")
    time_column = _time_column(rows, time_column, section, source)
    parts = [_part(rows, time_column, source)]
    if holdout is not None:
        if not holdout.num_rows:
            raise FrameError("the holdout file has no rows; give held-out rows or leave --holdout away.")
        parts.append(_part(holdout, time_column, "the holdout file"))
    features = frame.chosen(rows, features)
    words: dict[str, tuple[int, ...]] = {}  # those of the training rows, for held-out ones too
    batches = [_batch(part, section, features, words) for part in parts]
    task = section.source.prediction.task
    remarks: list[str] = []
    first = batches[0]
    _, place = cut_rows(first.rows) if time_column is None else cut_timeline(first.time, section.window_spec())
    honest = batches[0].score
    fitted = batches[0].label is not None and task is not Task.MULTICLASS
    if fitted:
        progress("fitting out-of-fold scores in blocks of time", 0.15)
        proxy = _out_of_fold(batches, place, task)
        given = batches[0].score
        if given is not None and np.isfinite(given).any():
            remarks += _refuse_in_sample(batches[0], given, proxy[0], place, task, section)
        else:
            honest = proxy[0]
            remarks.append("Training rows have no scores: stand-ins were fitted in blocks of time they had not seen.")
        if len(batches) > 1 and (batches[1].score is None or not np.isfinite(batches[1].score).any()):
            batches[1] = replace(batches[1], score=proxy[1])
            remarks.append("Held-out rows have no scores of the champion: stand-ins were fitted for them too.")
    batches[0] = replace(batches[0], score=honest)
    progress("cutting the time line", 0.75)
    reference = build_reference(
        concatenate(batches),
        model=model,
        version=version,
        task=task,
        spec=section.window_spec(),
        created_at=now,
        held_out_from=_moment(batches[1].time.min()) if len(batches) > 1 and time_column else None,
        threshold=section.source.prediction.threshold,
        classes=tuple(section.source.prediction.scores or ()),
        has_time=time_column is not None,
        slices=section.source.slices,
        rows=batches[0].rows,
        holdout_rows=batches[1].rows if len(batches) > 1 else 0,
        importance=importance or {},
        upstreams={name: tuple(members) for name, members in section.source.upstreams.items()},
        packages=_packages(),
        python_version=platform.python_version(),
        business=section.business.model_dump(mode="json", exclude_none=True),
        source=source,
        notes=tuple(remarks),
    )
    remarks += registration_notes(reference)
    remarks += [*_unused(rows, features, section, time_column, source), *_endless(rows, features, source)]
    remarks += _folded(reference, section)
    progress("keeping samples", 0.9)
    rng = np.random.default_rng(int(reference.id[:8], 16))  # the same rows for the same content
    sample = _sample(parts[0].table, [*features, *_answers(section)], rng)
    champion = parts[1].table if len(parts) > 1 else None
    columns = [*features, *_answers(section)]
    golden = b"" if champion is None or not _has_score(champion, section) else _head(champion, columns)
    progress("done", 1.0)
    return Training(reference=reference, sample=sample, golden=golden, remarks=tuple(remarks))


def _unused(
    rows: pa.Table, features: Mapping[str, Decoding], section: ModelSection, time_column: str | None, source: str
) -> Iterator[str]:
    """Yield a remark on columns that production does not log: who forgot them in the configuration sees it here."""
    used = {frame.base_of(name, rows.column_names) for name in features}
    used |= {time_column, section.source.time, section.source.id, *_answers(section), *section.source.attributes}
    rest = [name for name in rows.column_names if name not in used]
    if rest:
        more = f" and {len(rest) - MOST_NAMED} more" if len(rest) > MOST_NAMED else ""
        yield f"{source} has columns that are no logged features, left out: {', '.join(rest[:MOST_NAMED])}{more}."


def _folded(reference: Reference, section: ModelSection) -> Iterator[str]:
    """Yield a remark on each slicing that watches fewer groups apart than the training rows have."""
    if section.source.slices and reference.outcome_layout is None:
        yield "Slices are not watched: the training rows have no labels with scores."
    for slicing in () if reference.outcome_layout is None else reference.outcome_layout.slicings:
        if slicing.folded:
            yield (
                f"Slices by {slicing.name}: {len(slicing.groups)} groups are watched apart; {slicing.folded} with "
                f"fewer than {FEWEST_ROWS} rows, or beyond the {MOST_GROUPS} most frequent, are one group, {OTHER}."
            )


def _endless(rows: pa.Table, features: Mapping[str, Decoding], source: str) -> Iterator[str]:
    """Yield a remark on categories that hardly repeat: an id is no feature."""
    for name, decoding in features.items():
        if decoding is Decoding.CATEGORY and frame.is_diverse(rows, name):
            yield (
                f"{name} hardly repeats a value in {source}, so nearly every value will be new in production; declare "
                "it as text, or leave it out of source.features if it is an id."
            )


def read_importance(path: Path) -> dict[str, float]:
    """Return feature → importance from a JSON object or a CSV of two columns."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FrameError(f"{path} cannot be read ({error.strerror}); give a JSON object or a CSV.") from error
    try:
        if text.lstrip().startswith("{"):
            return {str(name): float(value) for name, value in json.loads(text).items()}
        return {row[0]: float(row[1]) for row in csv.reader(io.StringIO(text)) if row and _is_number(row[1])}
    except (ValueError, IndexError) as error:
        raise FrameError(f"{path} is neither a JSON object of numbers nor a CSV of feature,importance.") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _time_column(rows: pa.Table, given: str | None, section: ModelSection, source: str) -> str | None:
    if given is not None and given not in rows.column_names:
        raise FrameError(f"{source} has no column {given}; its columns are {', '.join(rows.column_names)}.")
    if given is not None:
        return given
    return section.source.time if section.source.time in rows.column_names else None


def _part(rows: pa.Table, time_column: str | None, name: str) -> Rows:
    if time_column is None:
        return Rows(table=rows, time=np.zeros(rows.num_rows, np.int64), name=name)
    if time_column not in rows.column_names:
        raise FrameError(f"{name} has no time column {time_column}; add it.")
    time = frame.times(time_column, rows[time_column])
    order = np.argsort(time, kind="stable")
    return Rows(table=rows.take(pa.array(order)), time=time[order], name=name)


def _batch(
    part: Rows, section: ModelSection, features: Mapping[str, Decoding], words: dict[str, tuple[int, ...]]
) -> Batch:
    missing = [name for name in features if frame.base_of(name, part.table.column_names) is None]
    if missing:
        name = missing[0]
        if features[name] in (Decoding.LIST, Decoding.TEXT):
            name = arrow.base_of(name)
        raise FrameError(
            f"{part.name} has no column {name}, which production logs as a feature; "
            "add it, or leave it out of source.features."
        )
    prediction, outcome = section.source.prediction, section.source.outcome
    for name in section.source.attributes:
        if name not in part.table.column_names:
            raise FrameError(
                f"{part.name} has no column {name}, by which source.slices watches rows apart; add it (it need not be "
                "a feature), or leave it out of source.slices."
            )
    target = None if outcome is None else (outcome.label or outcome.value)
    label = None
    if target is not None:
        if target not in part.table.column_names:
            raise FrameError(f"{part.name} has no target column {target}; add it (it is source.outcome's label).")
        classes = tuple(prediction.scores or ())
        if outcome is not None and outcome.value is not None:
            label = frame.floats(target, part.table[target]).values
        else:
            label = frame.labels(target, part.table[target], classes, prediction.positive)
        known = label[np.isfinite(label)]
        if not len(known) or (part.name != "the holdout file" and known.min() == known.max()):
            what = "is empty" if not len(known) else f"is always {known[0]:g}"
            raise FrameError(f"the target {target} of {part.name} {what}; nothing can be learned or compared.")
    column = prediction.score or prediction.value
    score = None
    if column is not None and column in part.table.column_names:
        score = frame.floats(column, part.table[column]).values
    scores = None
    if prediction.scores and all(name in part.table.column_names for name in prediction.scores.values()):
        scores = np.column_stack([frame.floats(n, part.table[n]).values for n in prediction.scores.values()])
        score = scores.max(axis=1)
    return frame.batch_of(
        part.table,
        features,
        time=part.time,
        score=score,
        scores=scores,
        label=label,
        attributes=section.source.attributes,
        words=words,
    )


def _out_of_fold(batches: list[Batch], place: Ints, task: Task) -> list[Floats]:
    """Return stand-in scores: of training rows from models that never saw their block, of held-out rows from all."""
    from monitor.challenger import fit_predict, matrix_of, out_of_fold

    matrices = matrix_of(batches)
    label = batches[0].label
    assert label is not None
    known = np.isfinite(label)
    first = out_of_fold(task, matrices[0], label, place)
    return [first, *(fit_predict(task, matrices[0][known], label[known], matrix) for matrix in matrices[1:])]


def _refuse_in_sample(
    batch: Batch, given: Floats, proxy: Floats, place: Ints, task: Task, section: ModelSection
) -> list[str]:
    """Refuse scores that are better on training rows than a model can be on time it has not seen.

    A champion may honestly be better than our stand-in, so a smaller lead is only a remark, which is returned.
    """
    from monitor.challenger import losses, window_means

    assert batch.label is not None
    ok = np.isfinite(batch.label) & np.isfinite(given) & np.isfinite(proxy)
    gain = losses(task, batch.label[ok], proxy[ok], np.inf) - losses(task, batch.label[ok], given[ok], np.inf)
    unseen = float(losses(task, batch.label[ok], proxy[ok], np.inf).mean())
    means = window_means(gain, place[ok])
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.inf
    lead = gain.mean() / unseen
    if lead <= GOOD or means.mean() <= 3 * error:
        return []
    column = section.source.prediction.score or section.source.prediction.value
    here = unseen - gain.mean()
    figures = f"their loss on training rows is {here:.3f}, on time it has not seen a model reaches {unseen:.3f}"
    if lead > TOO_GOOD:
        raise FrameError(
            f"the scores in {column} are in-sample: {figures}; give out-of-fold scores or leave the column out."
        )
    return [f"The scores in {column} must be out-of-fold; if they are not, leave the column out: {figures}."]


def _answers(section: ModelSection) -> list[str]:
    outcome = section.source.outcome
    target = None if outcome is None else (outcome.label or outcome.value)
    return [name for name in (*section.source.prediction.columns().values(), target) if name]


def _has_score(table: pa.Table, section: ModelSection) -> bool:
    columns = section.source.prediction.columns()
    return any(name in table.column_names for role, name in columns.items() if role != "label")


def _sample(table: pa.Table, columns: list[str], rng: np.random.Generator) -> bytes:
    chosen = np.arange(table.num_rows)
    if table.num_rows > SAMPLE_ROWS:
        chosen = np.sort(rng.choice(table.num_rows, SAMPLE_ROWS, replace=False))
    return _parquet(table.select([c for c in columns if c in table.column_names]).take(pa.array(chosen)))


def _head(table: pa.Table, columns: list[str]) -> bytes:
    chosen = np.linspace(0, table.num_rows - 1, min(GOLDEN_ROWS, table.num_rows)).astype(np.int64)
    return _parquet(table.select([c for c in columns if c in table.column_names]).take(pa.array(chosen)))


def _parquet(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target, compression="zstd")
    return target.getvalue()


def _packages() -> dict[str, str]:
    found = {"platform": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)
