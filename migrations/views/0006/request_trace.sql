-- One logged request across prediction, label, the window it fell into and what was open then. Covers the built-in log; for a log
-- table of your own use `monitor trace`. Ask by request_id: without it every logged row is traced.
SELECT
    p.model,
    p.model_version,
    p.role,
    p.request_id,  -- Identity of the request.
    p.trace_id,  -- Identity of the trace it belongs to.
    p.logged_at,  -- When the row was written.
    p.features,  -- What the model was given.
    p.score,  -- Its score.
    p.prediction,  -- Its answer.
    coalesce(o.label, o.value::text) AS outcome,  -- The label that came later.
    o.observed_at AS outcome_at,  -- When the label was observed.
    r.window_start,  -- Begin of the window that the request was judged in.
    r.window_end,  -- End of it.
    r.run_id,  -- Run that judged it.
    (
        SELECT jsonb_agg(
            jsonb_build_object(
                'alert_key', a.alert_key, 'episode', a.episode, 'title', a.title, 'severity', a.severity
            ) ORDER BY a.opened_at
        )
        FROM monitor.alert AS a
        WHERE a.model = p.model AND a.role = p.role AND a.opened_window_start <= r.window_start
            AND coalesce(a.resolved_window_start, 'infinity') > r.window_start
            AND a.state NOT IN ('inactive', 'pending')
    ) AS open_alerts,  -- Alerts that were open in that window.
    (
        SELECT jsonb_agg(
            jsonb_build_object('recommendation_id', c.recommendation_id, 'action', c.action, 'state', c.state)
            ORDER BY c.opened_at
        )
        FROM monitor.recommendation AS c
        WHERE c.model = p.model AND c.role = p.role
            AND c.window_start <= r.window_start AND coalesce(c.decided_at, 'infinity') > r.window_start
    ) AS recommendations  -- Recommendations that stood then.
FROM monitor.prediction_log AS p
LEFT JOIN LATERAL (
    SELECT o.label, o.value, o.observed_at
    FROM monitor.outcome_log AS o
    WHERE o.request_id = p.request_id AND o.model = p.model
    ORDER BY o.observed_at DESC
    LIMIT 1
) AS o ON true
LEFT JOIN LATERAL (
    SELECT r.run_id, r.window_start, r.window_end
    FROM monitor.run AS r
    WHERE r.model = p.model AND r.role = p.role AND r.part = 'inputs' AND r.state = 'done'
        AND r.window_start <= p.occurred_at AND r.window_end > p.occurred_at
    ORDER BY r.window_start DESC, r.revision DESC
    LIMIT 1
) AS r ON true
