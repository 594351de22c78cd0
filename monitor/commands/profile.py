"""``monitor profile``: store a training profile."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from monitor.command import (
    AnswerOption,
    CommandError,
    ConfigOption,
    ExitCode,
    answer,
    configuration,
    now,
    progress,
    say,
)
from monitor.installation import Installation, Monitored, opened, register
from monitor.reference import ENOUGH_WINDOWS
from monitor.sources.frame import FrameError
from monitor.training import Training

LARGE = 100e6  # bytes of a training profile in memory


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command("profile")(profile)


def profile(
    model: Annotated[str, typer.Argument(help="Name of the model in the configuration.")],
    source: Annotated[Path | None, typer.Option("--from", help="Parquet or CSV file with the training rows.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="SELECT on the source that gives the rows.")] = None,
    holdout: Annotated[
        Path | None, typer.Option("--holdout", help="Rows that training never saw, with scores.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Version of the model; default the date.")] = None,
    time_column: Annotated[str | None, typer.Option("--time-column", help="Default source.time.")] = None,
    importance: Annotated[Path | None, typer.Option("--importance", help="JSON or CSV: feature, importance.")] = None,
    config: ConfigOption = None,
    as_json: AnswerOption = False,
) -> int:
    """Store a training profile: what production is compared with from now on."""
    if (source is None) == (query is None):
        raise CommandError("Give the training rows with exactly one of --from FILE and --query SQL.")
    with opened(configuration(config)) as installation:
        watched = installation.model(model)
        try:
            training = train_model(
                installation,
                watched,
                source=source,
                query=query,
                holdout=holdout,
                version=version,
                time_column=time_column,
                importance=importance,
            )
        except FrameError as error:
            raise CommandError(f"No training profile for {model}: {error}") from error
        store_training(installation, watched, training, moment=now())
    made = training.reference
    facts = {"reference_id": made.id, "model": model, "version": made.version, "rows": made.rows}
    counts = {"holdout_rows": made.holdout_rows, "features": len(made.features), "windows": len(made.windows)}
    answer({**facts, **counts, "calibrating": made.calibrating, "remarks": training.remarks}, wanted=as_json)
    return ExitCode.OK


def train_model(
    installation: Installation,
    watched: Monitored,
    *,
    source: Path | None,
    query: str | None,
    holdout: Path | None,
    version: str | None,
    time_column: str | None,
    importance: Path | None,
) -> Training:
    """Return the training profile from a file or a query, with a progress bar; raises FrameError."""
    from monitor.sources import frame
    from monitor.training import read_importance, train

    moment = now()
    with progress("%") as bar:
        task = bar.add_task("reading rows", total=1.0)
        if source is not None:
            rows, name = frame.read_file(source), source.name
        else:
            rows, name = frame.read_query(installation.source_dsn(watched.section), query or ""), "the query"
        return train(
            watched.name,
            watched.section,
            rows,
            source=name,
            features=installation.source(watched.name).features(),
            holdout=None if holdout is None else frame.read_file(holdout),
            version=version or f"{moment:%Y-%m-%d}",
            time_column=time_column,
            importance=None if importance is None else read_importance(importance),
            now=moment,
            progress=lambda text, share: bar.update(task, description=text, completed=share),
        )


def store_training(installation: Installation, watched: Monitored, training: Training, *, moment: datetime) -> None:
    """Store the profile and say what it is worth."""
    from monitor import store
    from monitor.evaluation import holidays_of
    from monitor.rehearsal import achieved_rate, level_of

    reference = training.reference
    profile = reference.total
    with installation.engine.begin() as conn:
        register(conn, watched)
        store.save_reference(
            conn,
            model=watched.name,
            body=reference.to_bytes(),
            active_from=moment,
            model_version=reference.version,
            created_at=moment,
            rows=reference.rows,
            holdout_rows=reference.holdout_rows,
            time_from=reference.windows[0].start if reference.timeline else None,
            time_to=reference.windows[-1].end if reference.timeline else None,
            windows_for_variance=len(reference.windows),
            calibrating=reference.calibrating,
            features={column.name: column.kind.value for column in profile.layout.columns},
            packages=dict(reference.packages),
            python_version=reference.python_version,
            importance=dict(reference.importance),
            business=dict(reference.business),
            source=reference.source,
            sample=training.sample,
            golden=training.golden,
        )
    for remark in training.remarks:
        say(remark[:1].upper() + remark[1:])
    windows = len(reference.windows)
    say(
        f"Stored training profile {reference.id[:12]} of {watched.name} {reference.version}: {reference.rows:,} rows, "
        f"{reference.holdout_rows:,} held out, {len(reference.features)} features, {windows} windows."
    )
    if reference.calibrating:
        why = "rows have no time" if not reference.timeline else f"only {windows} of {ENOUGH_WINDOWS} windows"
        say(f"Calibrating: {why}, so the natural variance between windows is not known well yet.")
    memory = sum(one.counts.nbytes + one.registers.nbytes for one in reference.profiles)
    if memory > LARGE:
        say(
            f"Large: every process that evaluates holds {windows} windows of {len(reference.features)} features in "
            f"{memory / 1e6:,.0f} MB; longer windows, fewer features or a shorter training time take less."
        )
    holidays = holidays_of(watched, reference, reference.windows[-1])
    rate = achieved_rate(reference, watched.budget, holidays=holidays)
    if math.isfinite(rate):
        nominal = watched.budget.q
        level = level_of(reference, nominal, holidays=holidays)
        kept = f", at a level of {level:.2g} instead of {nominal:.2g}" if level != nominal else ""
        say(f"Feature flags inside training: {rate:.2%} of windows (nominal {nominal:.2%}{kept}); digest only.")
