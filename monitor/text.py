"""Free text as numbers: which characters a text is made of, and how many of its words training did not know."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from monitor.source import Floats

CLASSES = ("letters", "digits", "spaces", "others")
"""Shares of characters: A–Z and a–z, 0–9, white space, everything else. The same in every database and locale."""
UNKNOWN = "unknown"
MOST_WORDS = 5000  # that training remembers, the most frequent ones
OFTEN = 5  # texts of training that a word has to be in
LONGEST = 2000  # characters of a text that are looked at

_LETTERS, _DIGITS, _SPACES, _OTHERS = b"\1", b"\2", b"\3", b"\4"
_KIND = bytes(
    1 if chr(c).isalpha() else 2 if chr(c).isdigit() else 3 if c == 32 or 9 <= c <= 13 else 4 for c in range(128)
) + bytes([4] * 128)
_WORDS = str.maketrans({chr(c): chr(c).lower() if chr(c).isalnum() else " " for c in range(128)})


def words_in(text: str) -> list[str]:
    """Return the words of a text in the order in which they stand: what lies between ASCII spaces and marks.

    >>> words_in("Late again, gate B-12!")
    ['late', 'again', 'gate', 'b', '12']
    """
    return text[:LONGEST].translate(_WORDS).split()


def vocabulary(texts: Iterable[str], times: Iterable[int]) -> tuple[int, ...]:
    """Return hashes of the most frequent words of training, each in five texts at least.

    ``times`` is how often each text occurs. Hashes, since the words of a free text are nobody's business.
    """
    found: Counter[str] = Counter()
    for text, often in zip(texts, times, strict=True):
        for word in set(words_in(text)):
            found[word] += often
    usual = sorted((-number, word) for word, number in found.items() if number >= OFTEN)
    return tuple(sorted({_hash(word) for _, word in usual[:MOST_WORDS]}))


def figures(texts: Sequence[str], known: frozenset[int] | None = None) -> dict[str, Floats]:
    """Return the shares of each text by name, NaN of a text without characters; ``unknown`` only with known words.

    ``unknown`` is the share of words that training did not know, NaN of a text without words.

    >>> {name: values.tolist() for name, values in figures(["ab 1", ""]).items()}
    {'letters': [0.5, nan], 'digits': [0.25, nan], 'spaces': [0.25, nan], 'others': [0.0, nan]}
    """
    counts = np.zeros((len(texts), 4))
    for i, text in enumerate(texts):
        kinds = text[:LONGEST].encode("latin-1", "replace").translate(_KIND) if text.isascii() else _kinds(text)
        counts[i] = [kinds.count(kind) for kind in (_LETTERS, _DIGITS, _SPACES, _OTHERS)]
    sizes = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = counts / np.where(sizes > 0, sizes, np.nan)
    found = dict(zip(CLASSES, shares.T, strict=True))
    if known is not None:
        found[UNKNOWN] = np.array([_unknown(words_in(text), known) for text in texts], np.float64)
    return found


def _kinds(text: str) -> bytes:
    """Return the class of each character; whatever is beyond ASCII is one of the others."""
    return bytes(_KIND[c] if c < 128 else 4 for c in map(ord, text[:LONGEST]))


def _unknown(words: Sequence[str], known: frozenset[int]) -> float:
    return sum(_hash(word) not in known for word in words) / len(words) if words else np.nan


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
