"""Serving processes hear of a circuit: a share to probe with while it is half open, and a notification."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

VIEW = """
CREATE OR REPLACE VIEW monitor.circuit_history AS
SELECT c.model, c.at, c.state, c.share, c.reason, c.actor, c.fallback, c.until{more}
FROM monitor.circuit_event AS c
"""

# The payload is the model alone: who hears it reads the row, so nothing depends on the order of notifications.
NOTIFY = """
CREATE FUNCTION monitor.notify_circuit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM pg_notify('monitor_circuit', NEW.model);
    RETURN NULL;
END
$body$
"""


def upgrade() -> None:
    op.add_column("circuit_event", sa.Column("probe_share", sa.Double(), nullable=True), schema="monitor")
    op.execute(VIEW.format(more=", c.probe_share"))
    op.execute(
        "COMMENT ON COLUMN monitor.circuit_history.probe_share IS"
        " 'Share of requests that the model answers while the circuit is half open.'"
    )
    op.execute(NOTIFY)
    op.execute("COMMENT ON FUNCTION monitor.notify_circuit IS 'Tells serving processes that a circuit has changed.'")
    op.execute(
        "CREATE TRIGGER notify_circuit AFTER INSERT ON monitor.circuit_event"
        " FOR EACH ROW EXECUTE FUNCTION monitor.notify_circuit()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER notify_circuit ON monitor.circuit_event")
    op.execute("DROP FUNCTION monitor.notify_circuit")
    comments = op.get_bind().execute(
        sa.text(
            "SELECT 'COMMENT ON COLUMN monitor.circuit_history.' || quote_ident(attname) || ' IS '"
            " || quote_literal(col_description(attrelid, attnum)) FROM pg_attribute"
            " WHERE attrelid = 'monitor.circuit_history'::regclass AND attnum > 0 AND attname <> 'probe_share'"
            " UNION ALL SELECT 'COMMENT ON VIEW monitor.circuit_history IS '"
            " || quote_literal(obj_description('monitor.circuit_history'::regclass))"
        )
    )
    statements = [statement for (statement,) in comments]
    op.execute("DROP VIEW monitor.circuit_history")
    op.execute(VIEW.format(more=""))
    for statement in statements:
        op.execute(statement)
    op.drop_column("circuit_event", "probe_share", schema="monitor")
