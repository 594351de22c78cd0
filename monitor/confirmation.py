"""Confirmations: links in messages that let whoever got the message do one thing, once, for a while.

A link opens a page, and only the form on it acts: scanners of mail open every link. What is stored is a hash of the
link's token, so that nobody who reads the table can use one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from monitor.tables import confirmation as confirmations

LENGTH = 32  # bytes of a token


class Deed(StrEnum):
    """What a link may do."""

    ACKNOWLEDGE = "acknowledge"
    SILENCE = "silence"
    APPROVE = "approve"
    DISMISS = "dismiss"


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A link that was offered: what it does, to what, until when, and who has used it."""

    deed: Deed
    subject: Mapping[str, Any]
    expires_at: datetime
    used_at: datetime | None = None
    used_by: str | None = None


def offer(conn: sa.Connection, deed: Deed, subject: Mapping[str, Any], *, now: datetime, until: datetime) -> str:
    """Write down that a link may do something once until a time; returns its token, which is kept nowhere."""
    token = secrets.token_urlsafe(LENGTH)
    values = {"deed": deed.value, "subject": dict(subject), "created_at": now, "expires_at": until}
    conn.execute(sa.insert(confirmations).values(token_hash=_hash(token), **values))
    return token


def find(conn: sa.Connection, token: str) -> Confirmation | None:
    """Return what a link was for, used and expired ones too; None where nobody offered it."""
    row = conn.execute(sa.select(confirmations).where(confirmations.c.token_hash == _hash(token))).one_or_none()
    if row is None:
        return None
    return Confirmation(
        deed=Deed(row.deed),
        subject=row.subject,
        expires_at=row.expires_at,
        used_at=row.used_at,
        used_by=row.used_by,
    )


def use(conn: sa.Connection, token: str, *, by: str, now: datetime) -> bool:
    """Use a link up in the caller's transaction, which does the deed; False where it is used, expired or unknown."""
    statement = sa.update(confirmations).where(
        confirmations.c.token_hash == _hash(token),
        confirmations.c.used_at.is_(None),
        confirmations.c.expires_at > now,
    )
    return bool(conn.execute(statement.values(used_at=now, used_by=by)).rowcount)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
