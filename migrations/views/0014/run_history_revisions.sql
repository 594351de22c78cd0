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
    r.rows_late,  -- Rows of the window that were logged later than the configured lateness after their time.
    r.rows_clock_skewed,  -- Rows from the future or without a time.
    r.labels_joined,  -- Predictions of the window whose label has come.
    r.seconds,  -- Seconds of work.
    r.read_seconds,  -- Seconds of it spent reading.
    r.due_at,  -- When it was due.
    r.started_at,  -- When the last attempt began.
    r.finished_at,  -- When it ended.
    r.reread_rows,  -- Rows transferred again because they or others of their tile had changed.
    r.part,  -- inputs or outcomes.
    r.kind,  -- scheduled, late (something changed afterwards), backfill or manual.
    r.rows_transferred,  -- Rows that this run fetched from the logs; the others of rows_read came from stored tiles.
    r.rows_repeated,  -- Request ids among the transferred rows that occur in another tile too: counted in each.
    r.rows_beyond_horizon,  -- Rows logged during the window for a time too long past: they belong to no window.
    r.findings_thinned  -- Judgements that were ok and went for their age (retention.ok_findings); empty while all are there.
FROM monitor.run AS r
