"""What quiet hours hold back, and how something critical lets it go."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from monitor.tables import delivery as deliveries


def release(conn: sa.Connection, group_key: str, channels: Sequence[str]) -> int:
    """Make the held messages of a group due now, in the caller's transaction; returns how many there were.

    Messages of a group leave in their order, so a critical one would wait behind what quiet hours hold.
    """
    now = sa.func.clock_timestamp()
    statement = sa.update(deliveries).where(
        deliveries.c.group_key == group_key,
        deliveries.c.channel.in_(channels),
        deliveries.c.state == "held",
    )
    return conn.execute(statement.values(state="pending", next_at=now)).rowcount
