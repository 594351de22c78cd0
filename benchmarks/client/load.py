"""A service in a process of its own: answers at a steady rate, with or without the client, and measures each answer.

Called by ``python -m benchmarks.client``; prints one JSON document.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from monitor_client import PredictionLogger

FEATURES: dict[str, Any] = {f"number_{i}": random.Random(i).gauss(0, 1) for i in range(15)}
FEATURES |= {f"category_{i}": "abcdef" for i in range(5)}
WEIGHTS = np.random.default_rng(0).normal(size=(15, 400))


def model(features: Mapping[str, Any]) -> float:
    """Return a score after about a tenth of a millisecond, as a small real model takes."""
    row = np.array([value for value in features.values() if isinstance(value, float)])
    for _ in range(10):
        score = float(np.tanh(row @ WEIGHTS).mean())
    return 1 / (1 + float(np.exp(-score)))


def serve(mode: str, url: str, spool: str, rate: float, seconds: float) -> dict[str, Any]:
    """Answer for some seconds; returns milliseconds of each answer and each `log`, and what became of rows."""
    logger = None
    if mode != "bare":
        logger = PredictionLogger(url, model="bench", version="7", spool_directory=spool, shadow_queue=1000)
        logger.log(FEATURES, score=0.5, request_id="first")
        logger.flush(10)
    answers, logs = [], []
    begun = due = time.perf_counter()
    number = 0
    while due - begun < seconds:
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        score = model(FEATURES)
        if logger is not None:
            before = time.perf_counter()
            logger.log(FEATURES, score=score, prediction=score > 0.5, request_id=number, latency_ms=1.5)
            if mode == "shadow":
                logger.shadow(model, FEATURES, version="8", request_id=number)
            logs.append(1000 * (time.perf_counter() - before))
        answers.append(1000 * (time.perf_counter() - start))
        number += 1
    kept: dict[str, Any] = {}
    if logger is not None:
        begun = time.perf_counter()
        kept = {"flushed": logger.flush(60), "drained_in": time.perf_counter() - begun, "dropped": logger.dropped}
        kept["troubles"] = logger.troubles
        logger.close()
    return {"answers": answers, "logs": logs, "logged": number, **kept}


if __name__ == "__main__":
    given_mode, given_url, given_spool, given_rate, given_seconds = sys.argv[1:]
    print(json.dumps(serve(given_mode, given_url, given_spool, float(given_rate), float(given_seconds))))
