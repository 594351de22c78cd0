"""Training files: what is refused with its reason, and what is remarked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.model import ModelSection
from monitor.sources.arrow import Decoding
from monitor.sources.frame import FrameError, read_file
from monitor.training import Training, read_importance, train

START = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = {"age": Decoding.NUMBER, "plan": Decoding.CATEGORY}
ROWS = 2000


def section(**source: Any) -> ModelSection:
    given = {"table": "t", "time": "at", "id": "id", "features": {"age": "numeric", "plan": "categorical"}}
    given |= {"prediction": {"score": "p"}, "outcome": {"label": "left", "matures_after": "1d"}, **source}
    return ModelSection.model_validate({"source": given, "window": "1d"})


def table(**columns: Any) -> pa.Table:
    """Return rows of forty days; a column may be replaced, or left out with None."""
    rng = np.random.default_rng(1)
    age = rng.normal(40, 10, ROWS)
    usual: dict[str, Any] = {
        "at": [START + i * timedelta(days=40) / ROWS for i in range(ROWS)],
        "age": age,
        "plan": rng.choice(["a", "b"], ROWS),
        "left": rng.random(ROWS) < 1 / (1 + np.exp((age - 40) / 10)),
    }
    return pa.table({name: value for name, value in {**usual, **columns}.items() if value is not None})


def trained(rows: pa.Table, *, holdout: pa.Table | None = None, **more: Any) -> Training:
    options: dict[str, Any] = {"features": FEATURES, "time_column": None, **more}
    model = options.pop("section", section())
    return train(
        "m",
        model,
        rows,
        source="train.csv",
        holdout=holdout,
        version="1",
        now=START,
        progress=lambda *_: None,
        **options,
    )


def test_ordinary_rows_become_a_profile_with_stand_in_scores() -> None:
    training = trained(table())
    assert (training.reference.rows, len(training.reference.windows)) == (ROWS, 40)
    assert "stand-ins were fitted" in training.remarks[0]
    assert pq.read_table(pa.BufferReader(training.sample)).num_rows == ROWS
    assert training.golden == b""


def test_the_same_rows_are_the_same_profile_whatever_their_order() -> None:
    rows = table()
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(ROWS)))
    assert trained(rows).reference.id == trained(shuffled).reference.id


def test_texts_and_vectors_of_training_become_figures_and_an_embedding() -> None:
    rng = np.random.default_rng(3)
    said = [f"order {i} was late" for i in range(ROWS)]
    texts = {"note": Decoding.CATEGORY, "note.length": Decoding.NUMBER, "note.text": Decoding.TEXT}
    features = {**FEATURES, **texts, "vector": Decoding.LIST}
    rows = table(note=said, vector=rng.normal(size=(ROWS, 4)).tolist())
    held = table(note=["unheard of"] * ROWS, vector=rng.normal(size=(ROWS, 4)).tolist())
    reference = trained(rows, holdout=held, features=features).reference
    names = {"note.length", "note.letters", "note.digits", "note.spaces", "note.others", "note.unknown"}
    assert names <= set(reference.features)
    assert "note" not in reference.features
    assert [one.dimensions for one in reference.layout.embeddings] == [4]
    unknown = reference.total.column("note.unknown")
    assert 0.6 < unknown.mean < 0.65  # a number is new in a quarter of its words, held-out words are all new


def test_a_text_of_few_values_stays_a_category() -> None:
    texts = {"note": Decoding.CATEGORY, "note.length": Decoding.NUMBER, "note.text": Decoding.TEXT}
    reference = trained(table(note=["late", "early"] * (ROWS // 2)), features={**FEATURES, **texts}).reference
    assert {name for name in reference.features if name.startswith("note")} == {"note"}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (table().slice(0, 0), "train.csv has no rows"),
        (table(age=None), "train.csv has no column age, which production logs as a feature"),
        (table(left=None), "train.csv has no target column left"),
        (table(left=[True] * ROWS), "the target left of train.csv is always 1"),
        (table(left=pa.nulls(ROWS, pa.bool_())), "the target left of train.csv is empty"),
        (table(left=["perhaps"] * ROWS), "the target left holds 'perhaps', neither true nor false"),
        (table(at=["some day"] * ROWS), "the time column at cannot be parsed (for example 'some day')"),
        (table(at=[None] * ROWS), "the time column at"),
        (table(age=[{"years": 3}] * ROWS), "column age is struct<years: int64>, which is no number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_that_cannot_be_used_are_refused_with_the_reason(rows: pa.Table, reason: str) -> None:
    with pytest.raises(FrameError) as refused:
        trained(rows)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scores_that_have_seen_their_rows_are_no_reference() -> None:
    rows = table()
    known = np.asarray(rows["left"].to_numpy(zero_copy_only=False), float)
    with pytest.raises(FrameError, match="the scores in p are in-sample"):
        trained(rows.append_column("p", pa.array(0.05 + 0.9 * known)))


def test_honest_scores_are_kept() -> None:
    rows = table()
    honest = 1 / (1 + np.exp((rows["age"].to_numpy() - 40) / 10))
    training = trained(rows.append_column("p", pa.array(honest)))
    assert not any("stand-ins" in remark for remark in training.remarks)
    assert any("must be out-of-fold" in remark for remark in training.remarks)  # better than boosting can be here


def test_held_out_rows_with_scores_are_golden() -> None:
    rows = table()
    scored = rows.append_column("p", pa.array(1 / (1 + np.exp((rows["age"].to_numpy() - 40) / 10))))
    training = trained(rows.slice(0, 1500), holdout=scored.slice(1500))
    assert (training.reference.rows, training.reference.holdout_rows) == (1500, 500)
    assert "p" in pq.read_table(pa.BufferReader(training.golden)).column_names
    with pytest.raises(FrameError, match="the holdout file has no rows"):
        trained(rows, holdout=rows.slice(0, 0))


def test_a_column_that_production_does_not_log_is_remarked() -> None:
    training = trained(table(postcode=["x"] * ROWS))
    assert "train.csv has columns that are no logged features, left out: postcode." in training.remarks


def test_a_category_that_never_repeats_is_remarked() -> None:
    training = trained(table(plan=[f"customer {i}" for i in range(ROWS)]))
    assert any(remark.startswith("plan hardly repeats a value in train.csv") for remark in training.remarks)


def test_without_a_time_column_rows_are_calibrating() -> None:
    training = trained(table(at=None))
    assert training.reference.calibrating
    assert not training.reference.timeline
    with pytest.raises(FrameError, match=r"train.csv has no column when; its columns are age, plan, left\."):
        trained(table(at=None), time_column="when")


def test_a_list_is_asked_for_by_its_own_name() -> None:
    features = {**FEATURES, "tags.length": Decoding.LIST}
    with pytest.raises(FrameError, match=r"train\.csv has no column tags, which"):
        trained(table(), features=features)


CSV = "at,age,plan,left\n2026-01-01,30,a,true\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", b"", "cannot be read (Empty CSV file)"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read (CSV parse error"),
        (
            "latin.csv",
            CSV.replace(",a,", ",fili\xe8re,").encode("latin-1"),
            "bytes in column plan that are no UTF",
        ),
        ("twice.csv", b"age,age\n1,2\n", "has the column age more than once"),
        ("broken.parquet", b"PAR1 this is none", "cannot be read"),
        ("rows.xlsx", b"", "is neither .parquet nor .csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(FrameError) as refused:
        read_file(file)
    assert str(refused.value).startswith(str(file))
    assert reason in str(refused.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="does not exist"):
        read_file(tmp_path / "none.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_may_have_the_delimiter_of_its_country(tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("\ufeff" + CSV.replace(",", delimiter), encoding="utf-8")
    assert read_file(file).column_names == ["at", "age", "plan", "left"]


def test_importance_is_a_json_object_or_two_columns(tmp_path: Path) -> None:
    file = tmp_path / "importance"
    for content in ('{"age": 0.7, "plan": 0.3}', "feature,importance\nage,0.7\nplan,0.3\n"):
        file.write_text(content)
        assert read_importance(file) == {"age": 0.7, "plan": 0.3}
    file.write_text('{"age": "much"}')
    with pytest.raises(FrameError, match="neither a JSON object of numbers nor a CSV"):
        read_importance(file)
