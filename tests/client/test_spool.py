"""What is on disk survives whatever happens to the process, in order, within its bounds."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor_client import spool as spools
from monitor_client.spool import Block, Spool, SpoolFullError
from tests.client.conftest import Service, eventually

LIMIT = 8 << 20


def block(number: int, size: int = 20) -> Block:
    return Block("prediction_log", 1, f"{number} ".encode() + b"x" * size + b"\n")


def numbers(spool: Spool) -> list[int]:
    """Return the numbers of all blocks, oldest segment first, removing the segments."""
    found = []
    while (segment := spool.oldest()) is not None:
        found += [int(block.data.split()[0]) for block in segment.read()[0]]
        spool.remove(segment)
    return found


def test_blocks_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new" / "folder", target="t", limit=LIMIT)
    for number in range(30):
        spool.append(block(number, 200_000))
    assert len(list((tmp_path / "new" / "folder").iterdir())) > 3
    assert spool.rows == 30
    assert numbers(spool) == list(range(30))
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    assert not spool


@pytest.mark.parametrize("cut", [1, 5, 21, 22, 23, 30, 38, 39])
def test_a_torn_end_costs_only_the_block_that_was_not_finished(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, target="t", limit=LIMIT)
    for number in range(3):
        spool.append(block(number))
    spool.close()
    (file,) = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - cut)
    again = Spool(tmp_path, target="t", limit=LIMIT)
    assert again.adopt() == 1
    segment = again.oldest()
    assert segment is not None
    blocks, torn = segment.read()
    assert blocks == [block(0), block(1)]
    assert torn > 0


def test_a_damaged_byte_costs_only_the_block_that_it_is_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path, target="t", limit=LIMIT)
    for number in range(3):
        spool.append(block(number))
    spool.close()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for position in range(len(whole)):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        reader = Spool(tmp_path, target="t", limit=LIMIT)
        reader.adopt()
        segment = reader.oldest()
        assert segment is not None
        left = [found for found in segment.read()[0] if found in (block(0), block(1), block(2))]
        assert len(left) == 2, position
        reader.close()


def test_a_directory_holds_no_more_than_it_may(tmp_path: Path) -> None:
    spools_of_two = [Spool(tmp_path, target="t", limit=LIMIT) for _ in range(2)]
    kept = 0

    def fill() -> None:
        nonlocal kept
        for number in range(1000):
            spools_of_two[number % 2].append(block(number, 100_000))
            kept += 1

    with pytest.raises(SpoolFullError, match="holds"):
        fill()
    used = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert LIMIT - 3 * spools.SEGMENT_BYTES < used <= LIMIT
    assert sum(spool.rows for spool in spools_of_two) == kept


def test_a_segment_belongs_to_one_living_process(tmp_path: Path) -> None:
    first, second = (Spool(tmp_path, target="t", limit=LIMIT) for _ in range(2))
    first.append(block(1))
    assert second.adopt() == 0
    first.close()
    assert second.adopt() == 1
    assert second.rows == 1
    assert numbers(second) == [1]
    assert first.adopt() == second.adopt() == 0


def test_segments_for_another_database_are_left_alone(tmp_path: Path) -> None:
    first = Spool(tmp_path, target="here", limit=LIMIT)
    first.append(block(1))
    first.close()
    assert Spool(tmp_path, target="there", limit=LIMIT).adopt() == 0


def test_a_block_that_the_disk_does_not_take_leaves_the_segment_as_it_was(tmp_path: Path) -> None:
    spool = Spool(tmp_path, target="t", limit=LIMIT)
    spool.append(block(0))
    (file,) = tmp_path.iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 500, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.append(block(1, 5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    spool.append(block(2))
    assert numbers(spool) == [0, 2]


APPEND = """
import sys
from pathlib import Path
from monitor_client.spool import Block, Spool
spool = Spool(Path(sys.argv[1]), target="t", limit=1 << 30)
number = 0
while True:
    spool.append(Block("prediction_log", 1, f"{number} ".encode() + b"x" * 50_000 + b"\\n"))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("after", [1, 25])
def test_what_was_said_to_be_on_disk_is_there_after_kill_9(
    tmp_path: Path, service: Callable[..., Service], after: int
) -> None:
    writing = service(APPEND, tmp_path)
    said = [int(writing.line()) for _ in range(after)][-1]
    writing.kill()
    spool = Spool(tmp_path, target="t", limit=LIMIT)
    eventually(spool.adopt)
    found = numbers(spool)
    assert found == list(range(len(found)))
    assert len(found) > said
