"""A deployed model in a process of its own: ``python -m tests.scoring BEHAVIOUR`` prints its port and answers.

It speaks Open Inference Protocol v2 (/v2/models/m/infer), MLflow (/invocations) and plain JSON (/score, rows in
``instances``; /one, a row at once), and counts what it is asked on /asked.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BEHAVIOURS = ("equal", "swapped", "nervous", "moved", "broken")
asked = 0


def score(row: dict[str, Any], behaviour: str = "equal") -> float:
    """Return what a version answers for x and z; missing values count as 0."""
    x, z = (float(row.get(name) or 0.0) for name in (("z", "x") if behaviour == "swapped" else ("x", "z")))
    odds = x - 0.5 * z
    found = 1 / (1 + math.exp(-odds))
    if behaviour == "nervous":
        return found + 0.3 * math.copysign(1, math.sin(1e8 * x))
    return found + (0.01 if behaviour == "moved" and x > 1 else 0.0)


class Handler(BaseHTTPRequestHandler):
    """Answers in the protocol of the path."""

    behaviour = "equal"

    def do_GET(self) -> None:
        self._answer(200, {"asked": asked})

    def do_POST(self) -> None:
        global asked
        asked += 1
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.behaviour == "broken":
            self._answer(500, {"error": "no such tree"})
            return
        match self.path:
            case "/v2/models/m/infer":
                columns = {one["name"]: one["data"] for one in question["inputs"]}
                said = self._scores(
                    [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
                )
                both = [part for one in said for part in (1 - one, one)]
                output = {"name": "probabilities", "shape": [len(said), 2], "datatype": "FP64", "data": both}
                self._answer(200, {"model_name": "m", "model_version": "7", "outputs": [output]})
            case "/invocations":
                frame = question["dataframe_split"]
                records = [dict(zip(frame["columns"], row, strict=True)) for row in frame["data"]]
                self._answer(200, {"predictions": self._scores(records)})
            case "/score":
                said = self._scores(question["instances"])
                self._answer(200, {"predictions": [{"score": one} for one in said]})
            case _:
                self._answer(200, {"result": self._scores([question["features"]])[0]})

    def _scores(self, rows: list[dict[str, Any]]) -> list[float]:
        return [score(row, self.behaviour) for row in rows]

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def scoring(behaviour: str = "equal") -> Iterator[str]:
    """Yield the address of a model that runs in a process of its own."""
    command = [sys.executable, "-m", "tests.scoring", behaviour]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    Handler.behaviour = sys.argv[1]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
