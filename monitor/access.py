"""Who may do what on the page: people and programs with a token, as a viewer or an operator.

The file has a line for each: name, role, token. `openssl rand -hex 32` makes a token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr

SHORTEST = 32  # characters of a token: what nobody guesses needs no protection against guessing
NAME = re.compile(r"[\w.@+-]{1,64}")


class Role(StrEnum):
    """What a person may do: a viewer reads, an operator also acknowledges, silences and approves."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody, or a program, who has shown a token."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Return whether this person may do what needs a role."""
        return self.role is Role.OPERATOR or role is Role.VIEWER


class TokensError(ValueError):
    """A file of tokens cannot be used; the message never has a token in it."""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """People with the token that each of them has."""

    people: tuple[tuple[Person, SecretStr], ...] = field(default=(), repr=False)

    def person(self, token: str) -> Person | None:
        """Return whose token this is; takes as long for a wrong one as for a right one, wherever they differ."""
        given, found = _digest(token), None
        for person, known in self.people:
            if hmac.compare_digest(_digest(known.get_secret_value()), given):
                found = person
        return found

    def begin(self, person: Person, *, until: datetime) -> str:
        """Return the value of a cookie that stands for a person until a time; it holds no token.

        It is signed with a key made of the person's token, so it ends with the token, and every replica knows it.
        """
        key = next(token for known, token in self.people if known == person)
        name = base64.urlsafe_b64encode(person.name.encode()).decode().rstrip("=")
        said = f"{name}.{int(until.timestamp())}"
        return f"{said}.{_sign(key, said)}"

    def resume(self, cookie: str, *, now: datetime) -> Person | None:
        """Return whom a cookie stands for; None where it is over, was changed, or the token is gone."""
        said, _, signature = cookie.rpartition(".")
        name, _, until = said.rpartition(".")
        found = None
        for person, key in self.people:
            if hmac.compare_digest(_sign(key, said).encode(), signature.encode()):
                found = person
        if found is None or not name or datetime.fromtimestamp(int(until), UTC) <= now:
            return None
        return found

    def secrets(self) -> Iterator[SecretStr]:
        """Yield the tokens, for those who blank secrets."""
        yield from (token for _, token in self.people)

    def form_key(self) -> str:
        """Return the key that forms are signed with: the same in every replica, another one with every other file."""
        everything = "\n".join(token.get_secret_value() for token in self.secrets())
        return hashlib.sha256(f"forms\n{everything}".encode()).hexdigest()


def read_tokens(path: Path) -> Tokens:
    """Return the people in a file of tokens; raises TokensError with the end of a sentence about the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise TokensError(f"cannot be read from {path} ({reason}); correct the path or its permissions") from None
    people: list[tuple[Person, SecretStr]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"line {number} of {path}"
        if len(words) != 3:
            raise TokensError(f"needs name, role and token in {where}, with spaces between them")
        name, role, token = words
        if not NAME.fullmatch(name):
            raise TokensError(f"needs a name of letters, digits and . @ + - _ in {where}")
        if role not in list(Role):
            raise TokensError(f"has no valid role in {where}; write viewer or operator")
        if len(token) < SHORTEST:
            raise TokensError(
                f"has a token of fewer than {SHORTEST} characters in {where}; `openssl rand -hex 32` makes one"
            )
        if any(name == known.name or token == other.get_secret_value() for known, other in people):
            raise TokensError(f"names a person or a token for the second time in {where}; give each their own")
        people.append((Person(name=name, role=Role(role)), SecretStr(token)))
    if not people:
        raise TokensError(f"leads to {path}, which names nobody; write lines of name, role and token")
    return Tokens(people=tuple(people))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _sign(key: SecretStr, said: str) -> str:
    return hmac.new(_digest("session\n" + key.get_secret_value()), said.encode(), hashlib.sha256).hexdigest()
