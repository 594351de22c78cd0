-- The ledger: one row for each model, role and window. No closed window is ever absent, whatever happened to it.
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
    outcomes.labels_joined,  -- Predictions of the window whose label has come.
    coalesce(r.seconds + outcomes.seconds, r.seconds, outcomes.seconds) AS seconds,  -- Seconds of work, inputs and outcomes.
    coalesce(r.read_seconds + outcomes.read_seconds, r.read_seconds, outcomes.read_seconds) AS read_seconds,  -- Seconds of it spent reading.
    r.due_at,  -- When it was due.
    r.started_at,  -- When the last attempt began.
    r.finished_at,  -- When it ended.
    r.reread_rows,  -- Rows transferred again because they or others of their tile had changed.
    r.rows_transferred,  -- Rows that this run fetched from the logs; the others of rows_read came from stored tiles.
    r.rows_repeated,  -- Request ids among the transferred rows that occur in another tile too: counted in each.
    r.rows_beyond_horizon,  -- Rows logged during the window for a time too long past: they belong to no window.
    coalesce(r.findings_thinned + outcomes.findings_thinned, r.findings_thinned, outcomes.findings_thinned) AS findings_thinned  -- Judgements that were ok and went for their age (retention.ok_findings); empty while all are there.
FROM (
    -- A finished revision hides a newer one that is still to come, so that a re-check does not make a window look open.
    SELECT DISTINCT ON (model, role, window_start, window_end) *
    FROM monitor.run
    WHERE part = 'inputs'
    ORDER BY model, role, window_start, window_end, state IN ('planned', 'running'), revision DESC
) AS r
LEFT JOIN (
    SELECT DISTINCT ON (model, role, window_start, window_end) *
    FROM monitor.run
    WHERE part = 'outcomes'
    ORDER BY model, role, window_start, window_end, state IN ('planned', 'running'), revision DESC
) AS outcomes USING (model, role, window_start, window_end)
