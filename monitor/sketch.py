"""Small mergeable summaries: logarithmic buckets, unseen values by smallest hash, HyperLogLog registers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from monitor.source import Floats, Ints

ERROR = 0.02  # relative error of a quantile read from the buckets
GAMMA = math.log((1 + ERROR) / (1 - ERROR))
OFFSET = 1 << 16  # no double's logarithm reaches it, so signs never collide
LARGEST_EXPONENT = 709.78  # of a double: a little below the logarithm of 1.797e308
KEPT = 256  # unseen values kept by name
REGISTERS = 128  # 1.04 / sqrt(128) = 9 % standard error

Novelties = Mapping[float | str, int]


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Counts on fixed logarithmic edges (DDSketch; Masson, Rim, Lee 2019): keys ascend with the value."""

    keys: Ints
    counts: Ints

    def quantile(self, q: float) -> float:
        """Return the value at rank ``q``, within 2 % of the exact one."""
        rank = q * (self.counts.sum() - 1)
        key = int(self.keys[np.searchsorted(np.cumsum(self.counts), rank, side="right")])
        if key == 0:
            return 0.0
        exponent = (abs(key) - OFFSET) * GAMMA + math.log(2 / (math.exp(GAMMA) + 1))
        return math.copysign(math.exp(min(exponent, LARGEST_EXPONENT)), key)


def bucket_keys(x: Floats) -> Ints:
    """Return the key of each finite value; keys ascend with the values."""
    with np.errstate(divide="ignore"):
        size = np.ceil(np.log(np.abs(x)) * (1 / GAMMA))
    return np.where(x == 0, 0, np.copysign(np.maximum(size, 1 - OFFSET) + OFFSET, x)).astype(np.int64)


def buckets_of(x: Floats, at: Ints, times: Ints, number: int) -> Iterator[tuple[int, Buckets]]:
    """Yield (piece, buckets) for finite ``x`` that ascend within their piece ``at`` and occur ``times`` times each.

    Pieces ascend; those without values are left out.
    """
    if not len(x):
        return
    keys = bucket_keys(x)
    begins = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]) | (at[1:] != at[:-1])]))
    keys, counts = keys[begins], np.add.reduceat(times, begins)
    edges = np.searchsorted(at[begins], np.arange(number + 1)).tolist()
    for piece, (start, stop) in enumerate(pairwise(edges)):
        if start < stop:
            yield piece, Buckets(keys=keys[start:stop], counts=counts[start:stop])


def merge_buckets(parts: Sequence[Buckets]) -> Buckets:
    """Return the sum of buckets; empty for no parts."""
    if not parts:
        return Buckets(keys=np.zeros(0, np.int64), counts=np.zeros(0, np.int64))
    keys, inverse = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
    counts = np.bincount(inverse, weights=np.concatenate([part.counts for part in parts])).astype(np.int64)
    return Buckets(keys=keys, counts=counts)


def merge_novelties(parts: Iterable[Novelties]) -> Novelties:
    """Return counts by value, keeping the ``KEPT`` values of smallest hash.

    What is among the smallest of all was among the smallest of each part, so kept counts are exact and merging stays
    associative. Beyond 256 distinct values it is a sample of them: not good for finding the most frequent one.
    """
    total: dict[float | str, int] = {}
    for part in parts:
        for value, count in part.items():
            total[value] = total.get(value, 0) + count
    kept = list(total)
    if len(kept) > KEPT:
        order = np.argsort(_hash_values(kept), kind="stable")[:KEPT]
        kept = [kept[i] for i in order.tolist()]
    return {value: total[value] for value in sorted(kept, key=lambda value: (isinstance(value, str), value))}


def _hash_values(values: Sequence[float | str]) -> NDArray[np.uint64]:
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) == len(values):
        return hash_floats(np.array(numbers, np.float64))
    return hash_texts([str(value) for value in values])


@lru_cache(maxsize=100_000)
def _hash_one(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def hash_texts(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each text, the same in every process."""
    return np.array([_hash_one(text) for text in texts], np.uint64)


def hash_floats(x: Floats) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each float (splitmix64 of its bits; Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (x + 0.0).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def register_values(hashes: NDArray[np.uint64]) -> tuple[Ints, NDArray[np.uint8]]:
    """Return the HyperLogLog register and its rank for each hash (Flajolet et al. 2007)."""
    slot = (hashes & np.uint64(REGISTERS - 1)).view(np.int64)
    rest = (hashes >> np.uint64(7)).astype(np.float64) + 1.0
    exponent = (rest.view(np.int64) >> 52) - 1023  # the integer part of the logarithm to base 2
    return slot, np.clip(57 - exponent, 1, 58).astype(np.uint8)


def distinct(registers: NDArray[np.uint8]) -> int:
    """Return the estimated number of distinct values behind one column's registers."""
    m = REGISTERS
    empty = int((registers == 0).sum())
    estimate = 0.7213 / (1 + 1.079 / m) * m * m / float(np.sum(2.0 ** -registers.astype(np.float64)))
    if estimate <= 2.5 * m and empty:
        estimate = m * math.log(m / empty)
    return round(estimate)
