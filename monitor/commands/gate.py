"""``monitor gate``: what keeps a candidate out, as a report for people and an exit code for CI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import jinja2
import numpy as np
import pyarrow as pa
import typer
from numpy.typing import NDArray

from monitor import candidate as candidates
from monitor import foresight, noise
from monitor import gate as gates
from monitor import golden as golden_rows
from monitor.candidate import Answers
from monitor.checks.fairness import Fairness
from monitor.command import CommandError, ConfigOption, ExitCode, JsonOption, configuration, console, plain, say
from monitor.endpoint import EndpointError
from monitor.gate import Outcome, Section
from monitor.golden import Columns, Floats, Predict
from monitor.installation import Monitored, opened
from monitor.outcome import Task
from monitor.pairing import losses_of
from monitor.preprocessing import Unlike
from monitor.preprocessing import compare as compare_raw
from monitor.respondent import Respondent, RespondentError, predictions_of, respondent, scores_of
from monitor.respondent import transform as transform_of
from monitor.sources.frame import FrameError, column_of, columns_of, is_diverse, labels, numbers_of, read_file, times
from monitor.treatment import rates_expected

CODES = {Outcome.PASS: ExitCode.OK, Outcome.FAIL: ExitCode.WARNING, Outcome.UNCLEAR: ExitCode.UNCLEAR}
SEED = 0  # of noise: the same candidate gets the same verdict


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("gate")(gate)


def gate(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    candidate: Annotated[str, typer.Option("--candidate", help="Version that would take over, for the report.")],
    inputs: Annotated[Path, typer.Option("--inputs", help="Logged inputs that both versions answer; Parquet or CSV.")],
    predict: Annotated[
        str,
        typer.Option(
            "--predict",
            help="The candidate: module:function, endpoint, v2:URL, mlflow:URL, log (its shadow's answers by id), or "
            "the column of --inputs with its score.",
        ),
    ],
    champion: Annotated[str | None, typer.Option("--champion", help="The champion, likewise.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Column with the truth, in both files.")] = None,
    train: Annotated[Path | None, typer.Option("--train", help="What the candidate was trained on.")] = None,
    golden: Annotated[Path | None, typer.Option("--golden", help="Rows with their predictions in training.")] = None,
    golden_score: Annotated[str, typer.Option("--golden-score", help="Column of --golden with them.")] = "prediction",
    transform: Annotated[
        str | None,
        typer.Option("--transform", help="module:function that makes features of the raw columns of --inputs."),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", help="Share of the champion's loss that the candidate may be worse.")
    ] = candidates.MARGIN,
    report: Annotated[Path | None, typer.Option("--report", "-o", help="Write a report, .md or .html.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Judge a candidate before its release: 0 pass, 1 fail, 2 could not tell."""
    if report is not None and report.suffix not in (".md", ".html"):
        raise CommandError(f"--report {report} is neither .md nor .html; give one of them.")
    if not 0 < margin < 1:
        raise CommandError(f"--margin {margin:g} is no share of a loss; give one above 0 and below 1, such as 0.05.")
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        dsn = installation.source_dsn(watched.section)
        judge = _Gate(watched=watched, label=label, margin=margin, version=candidate, dsn=dsn, made_by=transform)
        try:
            sections, skipped = judge.sections(inputs, predict, champion, train, golden, golden_score)
        except (FrameError, RespondentError, EndpointError) as error:
            raise CommandError(str(error)) from error
    outcome = gates.overall(sections)
    title = f"{model} {candidate}"
    if report is not None:
        write_report(report, title, outcome, sections)
    if as_json:
        document = {"model": model, "candidate": candidate, "outcome": outcome, "not_judged": skipped}
        print(json.dumps({**document, "sections": [asdict(one) for one in sections]}, default=plain, indent=2))
    else:
        console().print(f"{title}: {outcome}", markup=False)
        for section in sections:
            console().print(f"  {section.name}: {section.outcome}: {section.why}", markup=False, soft_wrap=True)
            for figure in section.figures:
                console().print(f"    {figure}", markup=False, soft_wrap=True)
    for reason in skipped:
        say(f"Not judged: {reason}.")
    return CODES[outcome]


class _Gate:
    def __init__(
        self, *, watched: Monitored, label: str | None, margin: float, version: str, dsn: str, made_by: str | None
    ) -> None:
        self.watched, self.label, self.margin, self.version, self.dsn = watched, label, margin, version, dsn
        self.made_by = made_by
        prediction = watched.section.source.prediction
        self.task, self.positive = prediction.task, prediction.positive
        self.classes = tuple(prediction.scores or ())
        self.threshold = prediction.threshold or 0.5 if self.task is Task.BINARY else None

    def sections(
        self, inputs: Path, predict: str, champion: str | None, train: Path | None, golden: Path | None, score: str
    ) -> tuple[list[Section], list[str]]:
        """Return the parts that could be judged by what was given, and why the others were not."""
        rows = read_file(inputs)
        if not rows.num_rows:
            raise FrameError(f"{inputs} has no rows; give logged inputs.")
        asked = respondent(predict, self.watched, is_candidate=True)
        standing = None if champion is None else respondent(champion, self.watched, is_candidate=False)
        named = {one.column for one in (asked, standing) if one is not None and one.column is not None}
        features: Columns = columns_of(rows, self._reserved | named)
        found, skipped = [], []
        if self.made_by is not None:
            features, compared = self._made(self.made_by, features, inputs)
            found.append(gates.preprocessing(compared))
        before = None if standing is None else self._scores(standing, rows, inputs, features, "champion")
        said = self._scores(asked, rows, inputs, features, "shadow")
        if before is not None:
            found += self._compared(rows, before, said)
            if self.label is None and self.watched.section.source.attributes:
                skipped.append("slices and fairness; give --label")
            elif "fairness" in self.watched.checks and self.task is not Task.BINARY:
                skipped.append("fairness; rates of groups are compared with two classes alone")
        else:
            skipped.append("regression; give --champion")
        if train is not None and self.label is not None:
            training = read_file(train)
            truth = self._truth(training, train)
            columns = columns_of(training, self._reserved)
            ids, late = self._ids(training), self._late(training)
            known = foresight.find(columns, truth, features, ids=ids, late=late, task=self.task)
            found.append(gates.leakage(known, foresight.repeated(columns, features)))
        else:
            skipped.append("leakage; give --train and --label")
        if asked.predict is None:
            skipped.append("parity and stability; give --predict as module:function or an endpoint")
            return found, skipped
        if golden is not None:
            replayed = read_file(golden)
            expected = column_of(replayed, golden, score)
            given = columns_of(replayed, self._reserved | {score})
            before = predictions_of(expected, score, len(self.classes))
            found.append(gates.parity(golden_rows.replay(given, before, asked.predict, threshold=self.threshold)))
        else:
            skipped.append("parity; give --golden")
        if not asked.shakable:
            skipped.append("stability; the endpoint serves production, unless release.endpoint says production: false")
            return found, skipped
        beside = None
        if standing is not None and standing.predict is not None and standing.shakable:
            beside = self._shaken(features, standing.predict)
        found.append(gates.stability(self._shaken(features, asked.predict), beside))
        return found, skipped

    def _scores(self, one: Respondent, rows: pa.Table, path: Path, features: Columns, role: str) -> Floats:
        return scores_of(one, rows, path, features, self.watched, self.dsn, role=role, version=self.version)

    def _made(self, named: str, columns: Columns, path: Path) -> tuple[Columns, list[Unlike]]:
        """Return the features as they were logged, and each beside what preprocessing makes of the raw columns."""
        made = transform_of(named)(columns)
        shared = [name for name in made if name in columns]
        if not shared:
            raise FrameError(f"{path} has no column of the features that {named} returned: {', '.join(made)}.")
        compared = [compare_raw(name, _words(made[name]), _words(columns[name])) for name in shared]
        return {name: columns[name] for name in shared}, compared

    def _shaken(self, features: Columns, call: Predict) -> noise.Shaken | None:
        return noise.shake(features, call, threshold=self.threshold, rng=np.random.default_rng(SEED))

    def _ids(self, training: pa.Table) -> Columns:
        """Return the column of the request id, and words that hardly repeat, which should know nothing."""
        named = self.watched.section.source.id
        words = [
            name
            for name in training.column_names
            if name == named
            or (
                name not in self._reserved
                and pa.types.is_string(training.schema.field(name).type)
                and is_diverse(training, name)
            )
        ]
        return {name: np.array(training[name].to_pylist(), object) for name in words}

    def _late(self, training: pa.Table) -> dict[str, float]:
        """Return, for each time among the features, the share of rows in which it lies after the prediction."""
        time = self.watched.section.source.time
        if time not in training.column_names:
            return {}
        at, found = times(time, training[time]), {}
        for name in training.column_names:
            if name not in self._reserved and pa.types.is_timestamp(training.schema.field(name).type):
                known = training[name].is_valid().to_numpy()
                later = times(name, training[name], empty=True) > at
                found[name] = float(later[known].mean()) if known.any() else 0.0
        return found

    @property
    def _reserved(self) -> set[str]:
        """Columns that are no feature: the label, and what the log says about a row."""
        source = self.watched.section.source
        also = {source.time, source.id, source.version, source.role, source.logged_at, self.label}
        return {name for name in also if name is not None} | set(source.prediction.columns().values())

    def _compared(self, rows: pa.Table, one: Floats, other: Floats) -> list[Section]:
        """Return regression over all rows, and by slice and fairness where rows have labels and attributes."""
        known = self.label is not None and self.label in rows.column_names
        truth = self._truth(rows, None) if known else np.full(rows.num_rows, np.nan)
        window = np.zeros(rows.num_rows, np.int64)
        time = self.watched.section.source.time
        if time in rows.column_names and pa.types.is_timestamp(rows.schema.field(time).type):
            seconds = rows[time].cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()
            window = seconds // round(self.watched.spec.pace.total_seconds())
        a, b = (
            Answers(
                score=score,
                decision=self._decided(score),
                label=truth,
                window=window,
            )
            for score in (one, other)
        )
        wanted = losses_of(self.watched) if known else []
        costs, margin = self.watched.costs, self.margin
        judged = [candidates.judge_pairs(a, b, loss=loss, costs=costs, margin=margin) for loss in wanted]
        found = [gates.regression(a, b, judged)]
        groups = self._groups(rows) if known else {}
        if groups:
            found.append(gates.slices(a, b, groups, loss=wanted[0], costs=costs, margin=margin))
        fairness = self.watched.checks.get("fairness")
        if isinstance(fairness, Fairness) and fairness.slices and self.task is Task.BINARY:
            compared = {" × ".join((n,) if isinstance(n, str) else n) for n in fairness.slices}
            own = {name: groups[name] for name in compared if name in groups}
            if own:
                names = tuple(fairness.metrics) or rates_expected(self.task, fairness.favourable)
                rates = replace(fairness, metrics=names).judged
                found.append(gates.fairness(a, b, own, rates=rates, tolerance=fairness.tolerance))
        return found

    def _decided(self, score: Floats) -> Floats:
        """Return decisions as 0 and 1, the places of the most probable classes, or NaN for numbers."""
        if score.ndim > 1:
            return np.where(np.isfinite(score).all(axis=1), score.argmax(axis=1), np.nan)
        if self.threshold is None:
            return np.full(len(score), np.nan)
        return np.where(np.isfinite(score), score >= self.threshold, np.nan)

    def _groups(self, rows: pa.Table) -> dict[str, NDArray[Any]]:
        """Return, by slicing, the group of each row; slicings whose attributes the file lacks are left out."""
        found = {}
        for names in self.watched.section.source.slices:
            if all(name in rows.column_names for name in names):
                columns = [[str(value) for value in rows[name].to_pylist()] for name in names]
                found[" × ".join(names)] = np.array([" × ".join(row) for row in zip(*columns, strict=True)], object)
        return found

    def _truth(self, rows: pa.Table, path: Path | None) -> Floats:
        assert self.label is not None
        column = column_of(rows, path, self.label)
        if self.task is Task.REGRESSION:
            return numbers_of(column, self.label)
        return labels(self.label, column, self.classes, self.positive)


def _words(values: NDArray[Any]) -> list[str | None]:
    gone = foresight.missing(values)
    return [None if empty else str(value) for value, empty in zip(values.tolist(), gone.tolist(), strict=True)]


def write_report(report: Path, title: str, outcome: Outcome, sections: Sequence[Section]) -> None:
    """Write sections as a page, or as Markdown for a pull request, by the name of the file; raises CommandError."""
    page = _html(title, outcome, sections) if report.suffix == ".html" else gates.markdown(title, sections)
    try:
        report.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--report {report} cannot be written ({error.strerror}); give another path.") from error


def _html(title: str, outcome: Outcome, sections: Sequence[Section]) -> str:
    environment = jinja2.Environment(loader=jinja2.PackageLoader("monitor"), autoescape=True)
    return environment.get_template("gate.html").render(title=title, outcome=outcome, sections=sections)
