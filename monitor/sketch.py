"""Small mergeable summaries: logarithmic buckets, unseen values by smallest hash, HyperLogLog registers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from monitor.source import Floats, Ints

ERROR = 0.02  # relative error of a quantile read from the buckets
GAMMA = math.log((1 + ERROR) / (1 - ERROR))
OFFSET = 1 << 16  # no double's logarithm reaches it, so signs never collide
LARGEST_EXPONENT = 709.78  # of a double: a little below the logarithm of 1.797e308
KEPT = 256  # unseen values kept by name
REMEMBERED = 1000  # texts at once whose hashes are worth keeping: more are hardly the same the next time
REGISTERS = 128  # 1.04 / sqrt(128) = 9 % standard error
_POWERS = 2.0 ** -np.arange(256)

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


def gaps(places: Ints, end: int) -> Ints:
    """Return how far it is from 0 to the first place, from each to the next, and from the last to the end."""
    found = np.empty(len(places) + 1, np.int64)
    found[:-1] = places
    found[-1] = end
    found[1:] -= places
    return found


def bucket_keys(x: Floats) -> Ints:
    """Return the key of each finite value; keys ascend with the values."""
    with np.errstate(divide="ignore"):
        size = np.ceil(np.log(np.abs(x)) * (1 / GAMMA))
    return np.where(x == 0, 0, np.copysign(np.maximum(size, 1 - OFFSET) + OFFSET, x)).astype(np.int64)


@cache
def _bucket_edges() -> tuple[int, Floats]:
    """Return the smallest key of positive doubles, and from it on the largest double of each key."""
    largest = np.finfo(np.float64).max
    first, last = bucket_keys(np.array([5e-324, largest])).tolist()
    keys = np.arange(first, last)
    about = np.exp(np.clip((keys - OFFSET) * GAMMA, -744.0, LARGEST_EXPONENT)).view(np.int64)
    # Doubles are ordered like their bits, and an exponential is right to a few thousand of them.
    low = np.maximum(about - (1 << 13), 0)
    high = about + (1 << 13)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        is_inside = bucket_keys(middle.view(np.float64)) <= keys
        low, high = np.where(is_inside, middle, low), np.where(is_inside, high, middle)
    return first, np.concatenate([low.view(np.float64), [largest]])


def buckets_of_sorted(x: Floats, left: int, right: int) -> Buckets:
    """Return the buckets of ascending finite values, of which those from ``left`` to ``right`` are 0."""
    keys, counts = [], []
    if left:
        key, count = _signed_buckets(x[:left], -1)
        keys.append(key[::-1])
        counts.append(count[::-1])
    if left < right:
        keys.append(np.zeros(1, np.int64))
        counts.append(np.array([right - left]))
    if right < len(x):
        key, count = _signed_buckets(x[right:], 1)
        keys.append(key)
        counts.append(count)
    return Buckets(keys=np.concatenate(keys), counts=np.concatenate(counts))


def _signed_buckets(x: Floats, sign: int) -> tuple[Ints, Ints]:
    """Return buckets of ascending values of one sign, in the order of their size."""
    first, edges = _bucket_edges()
    smallest, largest = edges.searchsorted(np.abs(x[[0, -1]])).tolist()[::sign]
    if largest - smallest < len(x) // 2:  # then looking for the edges among the values is quicker
        edges = edges[smallest:largest]
        below = x.searchsorted(edges, "right") if sign > 0 else len(x) - x.searchsorted(-edges)
        counts = gaps(below, len(x))
        where = np.flatnonzero(counts)
        return sign * (where + (first + smallest)), counts[where]
    keys = bucket_keys(x[::sign])
    begins = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    return keys[np.concatenate([[0], begins])], gaps(begins, len(x))


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


def hash_texts(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each text, the same in every process."""
    hashed = map(_remembered if len(texts) <= REMEMBERED else _hash_one, texts)
    return np.frombuffer(b"".join(hashed), "<u8").astype(np.uint64)


def _hash_one(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


_remembered = lru_cache(maxsize=10_000)(_hash_one)


def hash_floats(x: Floats) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each float (splitmix64 of its bits; Steele, Lea, Flood 2014)."""
    z = (x + 0.0).view(np.uint64)
    z += np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def register_values(hashes: NDArray[np.uint64]) -> tuple[Ints, NDArray[np.uint8]]:
    """Return the HyperLogLog register and its rank for each hash (Flajolet et al. 2007)."""
    slot = (hashes & np.uint64(REGISTERS - 1)).view(np.int64)
    rest = (hashes >> np.uint64(7)).astype(np.float64) + 1.0
    exponent = (rest.view(np.int64) >> 52) - 1023  # the integer part of the logarithm to base 2
    return slot, np.clip(57 - exponent, 1, 58).astype(np.uint8)


def registers_of(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the registers of hashed values."""
    registers = np.zeros(REGISTERS, np.uint8)
    # Of many values only the highest ranks count; where they fill every register, the others need no look.
    rank = (len(hashes) // (12 * REGISTERS)).bit_length() - 1
    if rank > 0:
        slot, ranks = register_values(hashes[hashes < np.uint64(1 << (64 - rank))])
        np.maximum.at(registers, slot, ranks)
        if registers.all():
            return registers
    slot, ranks = register_values(hashes)
    np.maximum.at(registers, slot, ranks)
    return registers


def distinct(registers: NDArray[np.uint8]) -> int:
    """Return the estimated number of distinct values behind one column's registers."""
    return int(distinct_each(registers))


def distinct_each(registers: NDArray[np.uint8]) -> Ints:
    """Return the estimate for each set of registers: (..., registers) to (...,)."""
    m = REGISTERS
    empty = (registers == 0).sum(axis=-1)
    estimate = 0.7213 / (1 + 1.079 / m) * m * m / _POWERS[registers].sum(axis=-1)
    few = (estimate <= 2.5 * m) & (empty > 0)
    return np.asarray(np.rint(np.where(few, m * np.log(m / np.maximum(empty, 1)), estimate)), np.int64)
