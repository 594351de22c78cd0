-- What was advised and what came of it, one row for each recommendation.
SELECT
    r.run_id,
    r.model,
    r.model_version,
    r.role,
    r.slice,
    r.window_start,
    r.window_end,
    r.revision,
    r.recommendation_id,  -- Identity; what approve and dismiss take.
    r.action,  -- INVESTIGATE_DATA, RECALIBRATE, RETRAIN, GET_LABELS, ROLL_BACK, PROMOTE, WATCH or INSUFFICIENT_DATA.
    r.state,  -- open, approved, dismissed, superseded, done or failed.
    r.opened_at,  -- When it was first given.
    r.evidence,  -- Rows that it rests on: a JSON list of run_id and subject.
    r.why,  -- Why it is advised.
    r.why_not,  -- What speaks against it or against something else.
    r.expected_benefit,  -- Money it is expected to bring.
    r.expected_cost,  -- Money it is expected to cost.
    r.currency,  -- Currency of the money in this row.
    r.train_since,  -- First row to train on, when it says so.
    r.train_query,  -- SQL that selects the rows to train on.
    r.decided_by,  -- Who decided.
    r.decided_at,  -- When.
    r.outcome,  -- helped, did_not_help or unknown, judged afterwards.
    r.extras ->> 'successor' AS successor_version,  -- Version that came after it was approved.
    (r.extras ->> 'since')::timestamptz AS replaced_at,  -- From when that version answered.
    (r.extras -> 'recovery' ->> 'before')::double precision AS loss_before,  -- Mean loss of the windows before, at most 28.
    (r.extras -> 'recovery' ->> 'after')::double precision AS loss_after,  -- Mean loss of the new version's windows, at most 28.
    (r.extras -> 'recovery' ->> 'expected')::double precision AS loss_expected  -- Loss that the new version's training promises.
FROM monitor.recommendation AS r
