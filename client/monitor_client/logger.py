"""PredictionLogger: what a service calls. It never waits and never raises."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor_client import row
from monitor_client.complaint import Complaints
from monitor_client.connection import reason
from monitor_client.context import current, new_id
from monitor_client.heartbeat import heartbeat, process_name
from monitor_client.shadow import Shadow
from monitor_client.writer import Writer

HEARTBEAT_EVERY = 60.0  # seconds
PACKAGES_EVERY = 1440  # heartbeats
SMALLEST_SPOOL = 4 << 20  # bytes: less than a few segments would only pretend to keep something
LOSSES = ("queue full", "closed", "refused", "unwritable", "lost at exit")
"""Troubles that each cost a row."""


class PredictionLogger:
    """Writes predictions, outcomes and signs of life of one model to the monitor's log tables.

    `url` is the address of the monitor's database; `model` and `version` are written with every row. While the
    database is away rows wait in `spool_directory`, at most `spool_bytes` of them; without a directory they wait in
    memory. `queue_bytes` bounds the memory, `max_row_bytes` one row. `process` names this process, by default host and
    pid. Wrong settings raise ValueError here, at the start of the service; nothing raises later.

    A row is written at least once: one that was written when the connection broke, before that was known, comes
    twice. The monitor counts each (request id, role, version) once.

    One logger serves any number of threads and tasks, and forked children begin with an empty queue of their own.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        version: str | None = None,
        spool_directory: str | os.PathLike[str] | None = None,
        spool_bytes: int = 256 << 20,
        queue_bytes: int = 32 << 20,
        max_row_bytes: int = 256 << 10,
        heartbeat_every: float | None = HEARTBEAT_EVERY,
        process: str | None = None,
        shadow_workers: int = 1,
        shadow_queue: int = 100,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not model or not model.strip():
            raise ValueError("model is empty; give the name that monitor.yaml has for it")
        if spool_bytes < SMALLEST_SPOOL:
            raise ValueError(f"spool_bytes is {spool_bytes}; give at least {SMALLEST_SPOOL}")
        if max_row_bytes > queue_bytes:
            raise ValueError(f"max_row_bytes {max_row_bytes} is more than queue_bytes {queue_bytes}; make it smaller")
        self.model, self.version, self.max_row_bytes = model, version, max_row_bytes
        self._clock, self._given_process = clock, process
        self._model = row.text(model)
        self._names = {name: f"{self._model}\t{row.text(version)}\t{name}" for name in row.ROLES}
        self._complaints = Complaints(f"predictions of {model}")
        self._writer = Writer(
            url,
            name=model,
            spool=None if spool_directory is None else Path(spool_directory),
            spool_bytes=spool_bytes,
            queue_bytes=queue_bytes,
            complaints=self._complaints,
        )
        self._writer.sign = self._heartbeat
        self._heartbeat_every, self._heartbeat_at, self._heartbeats = heartbeat_every, 0.0, 0
        self._shadow = Shadow(self._complaints, workers=shadow_workers, queue=shadow_queue)
        _loggers.add(self)
        atexit.register(_close, weakref.ref(self))

    # --- what the service calls ---------------------------------------------------------------------------------------

    def log(
        self,
        features: Mapping[str, Any] | Any | None,
        *,
        score: float | None = None,
        scores: Mapping[str, float] | None = None,
        value: float | None = None,
        prediction: object = None,
        request_id: object = None,
        trace_id: str | None = None,
        role: str = "champion",
        version: str | None = None,
        occurred_at: float | datetime | None = None,
        latency_ms: float | None = None,
    ) -> str:
        """Log one prediction and return its request id, by which `outcome` finds it later.

        `features` is a mapping from name to value, or anything with `to_dict`. Give what the model answers with:
        `score`, the probability of the positive class; `scores`, one by class; `value`, a predicted number;
        `prediction`, the decision or class that was given out. Request and trace id are those of the request that is
        being answered, where a middleware knows it, and a new id otherwise. Raises nothing: what cannot be written is
        counted, and said once a minute in a log of name `monitor_client`.
        """
        request = current()
        if request_id is None:
            request_id = request.request_id if request is not None else new_id()
        if trace_id is None and request is not None:
            trace_id = request.trace_id
        try:
            if role not in self._names:
                raise row.RowError(f"the role is not one of {', '.join(row.ROLES)}")
            names = self._names[role] if version is None else f"{self._model}\t{row.text(version)}\t{role}"
            line = row.line(
                names,
                row.request(request_id),
                row.NULL if trace_id is None else row.text(trace_id),
                row.moment(self._clock() if occurred_at is None else occurred_at),
                row.document(features, "features", self.max_row_bytes),
                row.number(score),
                row.document(scores, "scores", self.max_row_bytes),
                row.text(prediction),
                row.number(value),
                row.number(latency_ms),
            )
            if len(line) > self.max_row_bytes:
                raise row.RowError(f"the row has {len(line)} bytes; log less of it, or raise max_row_bytes")
        except Exception as error:  # noqa: BLE001 whatever a service hands over, it must not fail by it
            self._unwritable("a prediction", error)
        else:
            self._writer.put("prediction_log", line)
        return request_id if isinstance(request_id, str) else _id_text(request_id)

    def outcome(
        self,
        request_id: object,
        *,
        label: object = None,
        value: float | None = None,
        observed_at: float | datetime | None = None,
    ) -> None:
        """Log what turned out to be true of a request: `label`, its class, or `value`, its number. Raises nothing."""
        try:
            if (label is None) == (value is None):
                raise row.RowError("an outcome needs label or value, one of the two")
            line = row.line(
                self._model,
                row.request(request_id),
                row.text(label),
                row.number(value),
                row.moment(self._clock() if observed_at is None else observed_at),
            )
            if len(line) > self.max_row_bytes:
                raise row.RowError(f"the row has {len(line)} bytes; a label is a short text")
        except Exception as error:  # noqa: BLE001 whatever a service hands over, it must not fail by it
            self._unwritable("an outcome", error)
        else:
            self._writer.put("outcome_log", line)

    def shadow(
        self, call: Callable[[Any], Any], features: Any, *, version: str, request_id: object = None, **more: Any
    ) -> bool:
        """Run a second model aside and log its answer with role shadow; False where no place was free for it.

        `call(features)` runs later in a thread of a small pool; its result is a score, or a mapping with what `log`
        takes, such as ``{"score": 0.3, "prediction": True}``. The request id is that of the request being answered,
        or `request_id`, which must be the champion's. A call that raises is counted and said.
        """
        request = current()
        trace_id = more.pop("trace_id", None) or (request.trace_id if request is not None else None)
        at = self._clock()
        if request_id is None:
            if request is None:
                self._complaints.add(
                    "shadow", "shadow() has no request id and is not run; give request_id, or use a middleware"
                )
                return False
            request_id = request.request_id

        def run() -> None:
            began = time.perf_counter()
            result = call(features)
            latency = 1000 * (time.perf_counter() - began)
            answer = dict(result) if isinstance(result, Mapping) else {"score": result}
            facts = {"occurred_at": at, "latency_ms": latency, **more, **answer}
            facts |= {"request_id": request_id, "trace_id": trace_id, "role": "shadow", "version": version}
            self.log(features, **facts)

        return self._shadow.submit(run)

    # --- how it is ----------------------------------------------------------------------------------------------------

    @property
    def process(self) -> str:
        """Name of this process in heartbeats."""
        return self._given_process or process_name()

    @property
    def written(self) -> int:
        """Rows that this process has written to the database."""
        return self._writer.written

    @property
    def queued(self) -> int:
        """Rows that wait in memory or on disk."""
        return self._writer.queued

    @property
    def dropped(self) -> int:
        """Rows that are lost, since this process began."""
        return sum(self._complaints.counts[loss] for loss in LOSSES)

    @property
    def troubles(self) -> dict[str, int]:
        """How often what went wrong, such as ``{"queue full": 12}``."""
        return dict(self._complaints.counts)

    @property
    def is_database_away(self) -> bool:
        """Whether the last try to reach the database failed."""
        return self._writer.is_away

    def start(self) -> None:
        """Begin with heartbeats now; otherwise the first row begins them."""
        self._writer.start()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything logged so far is in the database; False where it is not after `timeout` seconds."""
        self._shadow.wait(timeout)
        return self._writer.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, to disk where the database does not answer; called at exit by itself."""
        self._shadow.close(timeout)
        self._writer.close(timeout)

    def __enter__(self) -> PredictionLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------------------

    def _unwritable(self, what: str, error: Exception) -> None:
        name = "" if isinstance(error, row.RowError) else f"{type(error).__name__}: "
        self._complaints.add("unwritable", f"{what} cannot be written and is lost: {name}{reason(error)}")

    def _heartbeat(self) -> bytes | None:
        if self._heartbeat_every is None or time.monotonic() < self._heartbeat_at:
            return None
        self._heartbeat_at = time.monotonic() + self._heartbeat_every
        packages = self._heartbeats % PACKAGES_EVERY == 0
        self._heartbeats += 1
        return heartbeat(
            self.process,
            self.model,
            self.version,
            at=self._clock(),
            packages=packages,
            dropped=self.dropped,
            queued=self.queued,
        )

    def _after_fork(self) -> None:
        self._complaints.after_fork()
        self._shadow.after_fork()
        self._heartbeat_at, self._heartbeats = 0.0, 0
        self._writer.after_fork()


_loggers: weakref.WeakSet[PredictionLogger] = weakref.WeakSet()


def flush_all(timeout: float = 5.0) -> bool:
    """Flush every logger of this process, for `timeout` seconds in all; False where something is not written yet."""
    end = time.monotonic() + timeout
    flushed = [logger.flush(max(0.0, end - time.monotonic())) for logger in list(_loggers) if logger.queued]
    return all(flushed)  # each was tried, also after one that was not


def _id_text(value: object) -> str:
    try:
        return row.plain_text(value)
    except Exception:  # noqa: BLE001 an id that has no text was refused already
        return ""


def _close(reference: weakref.ref[PredictionLogger]) -> None:
    logger = reference()
    if logger is not None:
        logger.close()


def _after_fork() -> None:
    for logger in list(_loggers):
        logger._after_fork()


os.register_at_fork(after_in_child=_after_fork)
