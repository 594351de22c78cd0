"""Circuit: who answers a request. Asking takes microseconds and never waits for the database."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from monitor_client.complaint import Complaints
from monitor_client.connection import Connection, reason
from monitor_client.context import current, new_id

if TYPE_CHECKING:
    import psycopg

POLL_EVERY = 0.5  # seconds; a notification that is lost, or a pooler that passes none, costs no more than this
TIME_TO_LIVE = 5.0  # seconds after which a state that was not confirmed is called old
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between two tries while the database is away
PROBE_SHARE = 0.05  # of requests, where an open circuit may be tried again and nobody said another share

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"

QUERY = (
    "SELECT state, share, probe_share, fallback, reason, actor, at, until FROM monitor.circuit_event"
    " WHERE model = %s ORDER BY at DESC, event_id DESC LIMIT 1"
)

T = TypeVar("T")


@dataclass(frozen=True)
class CircuitState:
    """What is known about a model's circuit.

    ``share`` is the canary's share of requests, ``probe_share`` the model's own while the circuit is half open.
    """

    state: str = CLOSED
    share: float = 0.0
    probe_share: float | None = None
    fallback: Mapping[str, Any] | None = None
    reason: str | None = None
    actor: str | None = None
    at: str | None = None
    """When it was changed, ISO 8601."""
    until: str | None = None
    """From when on an open circuit is tried again, ISO 8601."""

    def at_time(self, now: datetime) -> CircuitState:
        """Return the state as it is at a time: an open circuit that may be tried again is half open."""
        if self.state != OPEN or self.until is None or now < datetime.fromisoformat(self.until):
            return self
        return replace(self, state=HALF_OPEN, probe_share=self.probe_share or PROBE_SHARE)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a request is answered with, and by whom."""

    value: T | Mapping[str, Any] | None
    is_fallback: bool
    state: CircuitState = field(repr=False)


class Circuit:
    """The circuit of one model, kept up to date by a thread of its own.

    `fallback` is the answer while nobody has configured one in the monitor. With `cache_directory` the last known
    state outlives this process, so that a service that starts while the database is away knows it too. Construction
    waits at most `wait` seconds for the first state; where none is known, the circuit is closed: the model answers.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        fallback: Mapping[str, Any] | None = None,
        cache_directory: str | os.PathLike[str] | None = None,
        time_to_live: float = TIME_TO_LIVE,
        wait: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model, self.fallback, self.time_to_live, self._clock = model, fallback, time_to_live, clock
        self._complaints = Complaints(f"circuit of {model}")
        self._connection = Connection(url, f"{model} circuit")
        digest = hashlib.sha256(model.encode("utf-8", "replace")).hexdigest()[:16]
        self._cache = None if cache_directory is None else Path(cache_directory) / f"circuit-{digest}.json"
        self._state = CircuitState()
        self._confirmed: float | None = None
        self._is_known = self._remember()
        self._begin()
        _circuits.add(self)
        self._start()
        self._first.wait(wait)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._first, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    # --- what the service asks ----------------------------------------------------------------------------------------

    @property
    def state(self) -> CircuitState:
        """The last known state, as it is now."""
        state = self._state
        return state if state.until is None else state.at_time(datetime.fromtimestamp(self._clock(), timezone.utc))

    @property
    def is_stale(self) -> bool:
        """Whether the state was not confirmed within the time to live: the database is away, this is the last known."""
        confirmed = self._confirmed
        return confirmed is None or time.monotonic() - confirmed > self.time_to_live

    @property
    def is_known(self) -> bool:
        """Whether a state was ever read, from the database or from the cache."""
        return self._is_known

    def admits(self, request_id: object = None) -> bool:
        """Return whether the model answers a request; of a half-open circuit always the same requests, by their id."""
        self._ensure()
        state = self.state
        if state.state == CLOSED:
            return True
        if state.state == OPEN:
            return False
        return fraction(f"probe {self.model}", _request_id(request_id)) < (state.probe_share or 0.0)

    def in_canary(self, request_id: object = None) -> bool:
        """Return whether the canary answers a request.

        The same id always gets the same answer in every process; a larger share keeps those that it had.
        """
        self._ensure()
        return fraction(f"canary {self.model}", _request_id(request_id)) < self._state.share

    def answer(self, call: Callable[[], T], *, request_id: object = None) -> Answer[T]:
        """Return the model's answer, or the fallback while the circuit does not admit the request.

        What `call` raises is raised while the circuit is closed; a request that only tries the model while the
        circuit is half open gets the fallback instead.
        """
        state = self.state
        if not self.admits(request_id):
            return self._fallen_back(state)
        if state.state == CLOSED:
            return Answer(call(), False, state)
        try:
            return Answer(call(), False, state)
        except Exception as error:  # noqa: BLE001 the model is out of service: nobody shall notice that it was tried
            self._complaints.add("probe failed", f"a request that tried the model failed ({reason(error)})")
            return self._fallen_back(state)

    def _fallen_back(self, state: CircuitState) -> Answer[Any]:
        return Answer(state.fallback if state.fallback is not None else self.fallback, True, state)

    def close(self, timeout: float = 2.0) -> None:
        """End the thread; the last known state goes on being answered."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout / 2)
            if thread.is_alive():
                self._connection.cut()
                thread.join(timeout / 2)

    def __enter__(self) -> Circuit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _ensure(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name=f"monitor-client circuit {self.model}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._complaints.add("no thread", f"no thread can be started ({error}); the last known state is kept")
                return
            self._thread = thread

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            confirmed = self._confirmed
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001 whatever the driver raises, the last known state stays
                self._connection.close()
                pause = FIRST_PAUSE if self._confirmed != confirmed else min(LONGEST_PAUSE, 2 * pause)
                known = f"the last known state stays: {self._state.state}" if self._is_known else "the model answers"
                self._complaints.add("away", f"the database cannot be asked ({reason(error)}); {known}")
                self._stop.wait(pause)
        self._connection.close()

    def _follow(self) -> None:
        """Follow the state until the connection is another one, or the circuit is closed for good."""
        with self._connection.within() as listening:
            listening.execute("LISTEN monitor_circuit")
        while not self._stop.is_set():
            with self._connection.within() as driver:
                if driver is not listening:
                    return
                self._read(driver)
            # Ends with the first notification, whichever model it names, or when it is time to look again.
            for _ in driver.notifies(timeout=POLL_EVERY, stop_after=1):
                pass

    def _read(self, driver: psycopg.Connection[Any]) -> None:
        row = driver.execute(QUERY, [self.model]).fetchone()
        state = CircuitState() if row is None else _state_of(row)
        self._confirmed = time.monotonic()
        self._complaints.over("away", "the database is back")
        changed = state != self._state or not self._is_known
        before, self._state, self._is_known = self._state, state, True
        self._first.set()
        if state.state != before.state:
            why = f" by {state.actor or 'the monitor'}: {state.reason or 'no reason given'}"
            logging.getLogger("monitor_client").warning(
                "circuit of %s: %s, was %s,%s", self.model, state.state, before.state, why
            )
        if changed:
            self._save(state)

    def _save(self, state: CircuitState) -> None:
        if self._cache is None:
            return
        try:
            self._cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = self._cache.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            beside.write_text(json.dumps(asdict(state), default=str), encoding="utf-8")
            beside.replace(self._cache)
        except OSError as error:
            self._complaints.add("cache", f"the state cannot be kept on disk ({reason(error)})")

    def _remember(self) -> bool:
        if self._cache is None:
            return False
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._state = CircuitState(**json.loads(self._cache.read_text(encoding="utf-8")))
            return True
        return False

    def _after_fork(self) -> None:
        stopped = self._stop.is_set()
        self._complaints.after_fork()
        self._connection.abandon()
        self._begin()
        if stopped:
            self._stop.set()


_circuits: weakref.WeakSet[Circuit] = weakref.WeakSet()


def fraction(salt: str, request_id: str) -> float:
    """Return where a request lies in [0, 1): a stable hash, so that every process agrees and salts do not.

    >>> fraction("canary late", "r-1") == fraction("canary late", "r-1") != fraction("probe late", "r-1")
    True
    """
    digest = hashlib.blake2b(f"{salt}\0{request_id}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def _request_id(given: object) -> str:
    if given is not None:
        return str(given)
    request = current()
    return request.request_id if request is not None else new_id()


def _state_of(row: tuple[Any, ...]) -> CircuitState:
    state, share, probe_share, fallback, why, actor, at, until = row
    return CircuitState(
        state=state,
        share=share or 0.0,
        probe_share=probe_share,
        fallback=fallback,
        reason=why,
        actor=actor,
        at=at.isoformat(),
        until=None if until is None else until.isoformat(),
    )


def _after_fork() -> None:
    for circuit in list(_circuits):
        circuit._after_fork()


os.register_at_fork(after_in_child=_after_fork)
