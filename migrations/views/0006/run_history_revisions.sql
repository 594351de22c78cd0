-- Every run of the ledger, one row for each revision of each part of a window: what run_history sums up.
SELECT
    r.run_id,
    r.model,
    r.model_version,
    r.role,
    r.window_start,
    r.window_end,
    r.revision,
    r.state,  -- planned, running, done, skipped or dead (given up after five attempts).
    r.reason,  -- Why it was skipped or failed.
    r.attempts,  -- How often it was begun.
    r.owner,  -- Process that ran it last.
    r.rows_read,  -- Rows behind the window, repeats removed.
    r.rows_duplicate,  -- Repeated rows that were not counted again.
    r.rows_late,  -- Rows that came after the window was first read.
    r.rows_clock_skewed,  -- Rows from the future or without a time.
    r.labels_joined,  -- Predictions of the window whose label has come.
    r.seconds,  -- Seconds of work.
    r.read_seconds,  -- Seconds of it spent reading.
    r.due_at,  -- When it was due.
    r.started_at,  -- When the last attempt began.
    r.finished_at,  -- When it ended.
    r.reread_rows,  -- Rows read again to check for changes.
    r.part,  -- inputs or outcomes.
    r.kind  -- scheduled, late (something changed afterwards), backfill or manual.
FROM monitor.run AS r
