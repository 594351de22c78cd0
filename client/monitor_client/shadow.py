"""A bounded pool for what may run beside the service, or not at all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from monitor_client.complaint import Complaints
from monitor_client.connection import reason


class Shadow:
    """Runs calls in a few threads of its own; what finds no place is skipped and counted, never waited for."""

    def __init__(self, complaints: Complaints, *, workers: int, queue: int) -> None:
        if workers < 1 or queue < 1:
            raise ValueError("shadow_workers and shadow_queue are at least 1")
        self._complaints, self._workers, self._size = complaints, workers, queue
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a child process: the parent's calls are the parent's."""
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(self._size)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, call: Callable[[], None]) -> bool:
        """Take a call to run later; False where no place is free."""
        try:
            if len(self._threads) < self._workers:
                self._start()
            if not self._closed:
                self._queue.put_nowait(call)
                return True
        except queue.Full:
            pass
        except RuntimeError as error:
            self._complaints.add("shadow", f"no thread can be started for a shadow model ({error})")
            return False
        self._complaints.add(
            "shadow skipped", "the shadow model is slower than the traffic; some requests are not compared"
        )
        return False

    def _start(self) -> None:
        with self._lock:
            while len(self._threads) < self._workers and not self._closed:
                thread = threading.Thread(target=self._run, name="monitor-client shadow", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 a candidate that fails is a finding, no failure of the service
                self._complaints.add(
                    "shadow failed", f"the shadow model failed: {type(error).__name__}: {reason(error)}"
                )
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def wait(self, timeout: float) -> None:
        """Wait until what was taken has run, for `timeout` seconds at most."""
        end = time.monotonic() + timeout
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and (left := end - time.monotonic()) > 0:
                self._queue.all_tasks_done.wait(left)

    def close(self, timeout: float) -> None:
        """Run what was taken, for `timeout` seconds at most, and end the threads."""
        if self._closed:
            return
        self.wait(timeout)
        self._closed = True
        for _ in self._threads:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return  # daemon threads end with the process
