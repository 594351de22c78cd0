"""What a terminal may be sent: names come from other people's tables, and a terminal obeys control characters."""

from __future__ import annotations

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co"})  # Unicode's categories of what has no shape of its own
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    r"""Return a text in which control, zero-width and bidirectional characters are �; line breaks and tabs stay.

    >>> visible("\x1b[2Jgone\u202e\n")
    '�[2Jgone�\n'
    """
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in HIDDEN else "�" for c in text)


def no_formula(text: str) -> str:
    """Return a text for a cell of CSV: what a spreadsheet would take for a formula gets a quote before it.

    >>> no_formula("=cmd|'/c calc'!A1"), no_formula("late share")
    ("'=cmd|'/c calc'!A1", 'late share')
    """
    return f"'{text}" if text.startswith(FORMULA) else text
