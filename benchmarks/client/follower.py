"""One client of a circuit: prints the time at which it first knew each change. Ended by the end of its input."""

from __future__ import annotations

import sys
import threading
import time

from monitor_client import Circuit


def follow(url: str) -> None:
    """Print ``open`` or ``closed`` and the time of the clock whenever model and fallback change places."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with Circuit(url, model="bench", wait=10) as circuit:
        admitted = not circuit.answer(lambda: 0.9, request_id="r").is_fallback
        print("ready", flush=True)
        while not ended.is_set():
            now = not circuit.answer(lambda: 0.9, request_id="r").is_fallback
            if now != admitted:
                admitted = now
                print("closed" if now else "open", time.time(), flush=True)
            time.sleep(0.002)


if __name__ == "__main__":
    follow(sys.argv[1])
