"""Endpoints: a deployed model asked for its predictions, in whichever of three protocols it speaks.

Open Inference Protocol v2, MLflow's ``/invocations``, or JSON as a template of the configuration says. Requests are
small and spaced, because production is asked here.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from monitor.deployment import EndpointSection
from monitor.golden import Columns, Floats

LONGEST = 16 << 20  # bytes of an answer that are read
EXCERPT = 200


class EndpointError(Exception):
    """An endpoint did not give one prediction for each row; the message is one sentence."""


@dataclass(kw_only=True)
class Endpoint:
    """One endpoint; ``version`` is what it last said of its model's version, empty where it does not say.

    With ``classes`` it is to give that many probabilities for each row, in the order of the configuration.
    """

    section: EndpointSection
    classes: int = 0
    version: str = ""
    _last: float = field(default=-math.inf, repr=False)

    def __call__(self, rows: Columns) -> Floats:
        """Return the prediction of each row, (N,) or (N, classes); raises EndpointError."""
        size = len(next(iter(rows.values())))
        step = 1 if self.section.protocol == "json" and _mentions(self.section.request, "$row") else self.section.rows
        found: list[Any] = []
        with httpx.Client(
            trust_env=False, follow_redirects=False, timeout=self.section.timeout.total_seconds(), headers=self._headers
        ) as client:
            for first in range(0, size, step):
                some = {name: values[first : first + step] for name, values in rows.items()}
                count = min(step, size - first)
                scores = self._scores(self._ask(client, self._question(some, count)))
                if len(scores) != count:
                    raise EndpointError(
                        f"{self._where} gave {len(scores)} predictions for {count} rows; check serving.endpoint.answer."
                    )
                found += scores
        return np.array(found, np.float64)

    @property
    def _where(self) -> str:
        return f"The endpoint {httpx.URL(self.section.url).host}"

    @property
    def _headers(self) -> dict[str, str]:
        token = self.section.token
        sent = {"Content-Type": "application/json", "User-Agent": "drift-monitor"}
        return sent if token is None else {**sent, "Authorization": f"Bearer {token.get_secret_value()}"}

    def _ask(self, client: httpx.Client, question: Any) -> Any:
        time.sleep(max(0.0, self._last + 1 / self.section.per_second - time.monotonic()))
        self._last = time.monotonic()
        try:
            with client.stream("POST", self.section.url, content=json.dumps(question, allow_nan=False)) as response:
                body = b""
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LONGEST:
                        raise EndpointError(f"{self._where} answered more than {LONGEST >> 20} MiB; ask fewer rows.")
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise EndpointError(f"{self._where} does not answer ({said}); check serving.endpoint.url.") from error
        said = " ".join(body.decode("utf-8", "replace").split())[:EXCERPT]
        if response.status_code != 200:
            raise EndpointError(f"{self._where} answered {response.status_code}: {said}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise EndpointError(f"{self._where} answered no JSON: {said}") from error

    def _question(self, rows: Columns, count: int) -> Any:
        columns = {name: _plain(values) for name, values in rows.items()}
        match self.section.protocol:
            case "v2":
                inputs = [
                    {
                        "name": name,
                        "shape": [count, 1],
                        "datatype": "FP64" if rows[name].dtype.kind in "fiu" else "BYTES",
                        "data": values,
                    }
                    for name, values in columns.items()
                ]
                return {"parameters": {"content_type": "pd"}, "inputs": inputs}
            case "mlflow":
                data = [list(row) for row in zip(*columns.values(), strict=True)]
                return {"dataframe_split": {"columns": list(columns), "data": data}}
            case _:
                records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
                return _filled(self.section.request, records)

    def _scores(self, answer: Any) -> list[Any]:
        match self.section.protocol:
            case "v2":
                found = self._of_outputs(answer)
            case "mlflow":
                found = self._walk(answer, ["predictions"])
                if self.section.answer is not None:
                    found = [self._walk(one, self.section.answer.split(".")) for one in self._list(found)]
            case _:
                found = self._walk(answer, (self.section.answer or "predictions").split("."))
                if _mentions(self.section.request, "$row") and not isinstance(found, list):
                    found = [found]
        return [self._probabilities(one) if self.classes else self._score(one) for one in self._list(found)]

    def _of_outputs(self, answer: Any) -> list[Any]:
        if isinstance(answer, dict):
            self.version = str(answer.get("model_version") or "")
        outputs = {
            str(one.get("name")): one for one in self._list(self._walk(answer, ["outputs"])) if isinstance(one, dict)
        }
        wanted = self.section.answer
        if wanted is None and len(outputs) > 1:
            raise EndpointError(f"{self._where} has the outputs {', '.join(outputs)}; name one in answer.")
        chosen = outputs.get(wanted) if wanted is not None else next(iter(outputs.values()), None)
        if chosen is None:
            has = ", ".join(outputs) or "none"
            raise EndpointError(f"{self._where} has no output {wanted or 'at all'}; it has {has}.")
        data, shape = self._list(self._walk(chosen, ["data"])), chosen.get("shape") or []
        width = int(shape[-1]) if len(shape) > 1 else 1
        if width > 1 and data and not isinstance(data[0], list):
            return [data[first : first + width] for first in range(0, len(data), width)]
        return data

    def _walk(self, value: Any, path: Sequence[str]) -> Any:
        """Return what lies at a path of keys; a list on the way is walked into item by item."""
        for place, key in enumerate(path):
            if isinstance(value, list) and not key.isdecimal():
                return [self._walk(one, path[place:]) for one in value]
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, TypeError) as error:
                said = json.dumps(value)[:EXCERPT]
                raise EndpointError(f"{self._where} answered without {'.'.join(path)}: {said}") from error
        return value

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise EndpointError(f"{self._where} answered no list of predictions: {json.dumps(value)[:EXCERPT]}")
        return value

    def _probabilities(self, value: Any) -> list[float]:
        if not isinstance(value, list) or len(value) != self.classes:
            said = json.dumps(value)[:EXCERPT]
            raise EndpointError(f"{self._where} predicted {said}, which is no list of {self.classes} probabilities.")
        return [self._score(one) for one in value]

    def _score(self, value: Any) -> float:
        """Return one prediction; of the probabilities of several classes the last, which is the positive one of two."""
        while isinstance(value, list) and value:
            value = value[-1]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EndpointError(f"{self._where} predicted {json.dumps(value)[:EXCERPT]}, which is no number.")
        return float(value)


def _plain(values: NDArray[Any]) -> list[Any]:
    """Return values as JSON has them: what is missing or not finite is null."""
    found: list[Any] = []
    for value in values.tolist():
        if isinstance(value, float) and not math.isfinite(value):
            found.append(None)
        elif value is None or isinstance(value, bool | int | float | str):
            found.append(value)
        else:
            found.append(value.isoformat() if hasattr(value, "isoformat") else str(value))
    return found


def _filled(template: Any, records: Sequence[Mapping[str, Any]]) -> Any:
    """Return a template with ``$rows`` as all rows, ``$row`` as the first, and ``$row.NAME`` as one of its values."""
    if template == "$rows":
        return list(records)
    if template == "$row":
        return records[0]
    if isinstance(template, str) and template.startswith("$row."):
        return records[0].get(template.removeprefix("$row."))
    if isinstance(template, Mapping):
        return {key: _filled(value, records) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [_filled(value, records) for value in template]
    return template


def _mentions(template: Any, what: str) -> bool:
    return any(text == what or text.startswith(f"{what}.") for text in _texts(template))


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from _texts(value)
    elif isinstance(template, list | tuple):
        for value in template:
            yield from _texts(value)
