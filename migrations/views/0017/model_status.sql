-- Where each model stands now, one row for each model: the first thing to look at.
SELECT
    m.name AS model,  -- Name of the model in the configuration.
    CASE
        WHEN alerts.critical > 0 THEN 'red'
        WHEN alerts.warning > 0 OR advice.action <> 'WATCH' THEN 'yellow'
        WHEN silent.is_silent OR r.reference_id IS NULL OR r.calibrating OR NOT coalesce(verdicts.conclusive, false) OR verdicts.blind THEN 'grey'
        ELSE 'green'
    END AS light,  -- red (an open critical alert), yellow (an open warning, or advice to act), grey (could not tell, or could not have seen a shift that matters) or green.
    CASE
        WHEN alerts.critical > 0 THEN alerts.critical_since
        WHEN alerts.warning > 0 THEN alerts.warning_since
        WHEN advice.action <> 'WATCH' THEN advice.opened_at
        WHEN silent.is_silent OR r.reference_id IS NULL OR r.calibrating OR NOT coalesce(verdicts.conclusive, false) OR verdicts.blind
            THEN coalesce(last_run.finished_at, m.registered_at)
        ELSE greatest(alerts.resolved_at, r.active_from)
    END AS since,  -- Since when, as far as alerts, advice and runs tell.
    worst.subject AS worst_subject,  -- Subject of the last window with the worst verdict.
    worst.effect AS worst_effect,  -- Its effect in reference standard deviations.
    money.cost_per_day AS cost_per_day_above_training,  -- Realised cost per day above what the held-out training data promised.
    coalesce(money.currency, m.currency) AS currency,  -- Currency of the money in this row.
    last_run.window_end AS last_window_end,  -- End of the last window that was judged.
    due.next_due_at,  -- When the next window is due; empty when none will come.
    alerts.open_alerts,  -- Number of alerts that are firing or recovering.
    advice.action AS open_recommendation,  -- What is advised, the most pressing one.
    coalesce(circuit.state, 'closed') AS circuit,  -- closed, open or half_open.
    r.reference_id,  -- Training profile in use.
    now() - r.created_at AS reference_age  -- How old it is.
FROM monitor.model AS m
LEFT JOIN LATERAL (
    SELECT r.reference_id, r.calibrating, r.created_at, r.active_from
    FROM monitor.reference AS r
    WHERE r.model = m.name AND r.active_until IS NULL
    ORDER BY r.active_from DESC
    LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT d.run_id, d.window_start, d.window_end, d.due_at, d.finished_at, d.rows_read
    FROM monitor.run AS d
    WHERE d.model = m.name AND d.role = 'champion' AND d.part = 'inputs' AND d.state = 'done'
    ORDER BY d.window_end DESC, d.revision DESC
    LIMIT 1
) AS last_run ON true
CROSS JOIN LATERAL (
    SELECT
        coalesce(m.period, last_run.window_end - last_run.window_start) AS period,
        coalesce(m.lag, last_run.due_at - last_run.window_end) AS lag
) AS pace
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN m.removed_at IS NOT NULL OR m.active_until <= last_run.window_end THEN NULL
        ELSE coalesce(
            (
                SELECT min(p.due_at) FROM monitor.run AS p
                WHERE p.model = m.name AND p.part = 'inputs' AND p.state IN ('planned', 'running')
            ),
            last_run.window_end + pace.period + pace.lag
        )
    END AS next_due_at
) AS due
CROSS JOIN LATERAL (
    -- A replay of old windows is alive as long as it finishes runs; a model whose time is over owes none.
    SELECT last_run.run_id IS NULL
        OR (due.next_due_at IS NOT NULL AND greatest(due.next_due_at, last_run.finished_at) + 3 * pace.period < now())
        AS is_silent
) AS silent
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE a.state IN ('firing', 'recovering'))::integer AS open_alerts,
        count(*) FILTER (WHERE a.state IN ('firing', 'recovering') AND a.severity = 'critical') AS critical,
        count(*) FILTER (WHERE a.state IN ('firing', 'recovering') AND a.severity = 'warning') AS warning,
        min(a.opened_at) FILTER (WHERE a.state IN ('firing', 'recovering') AND a.severity = 'critical') AS critical_since,
        min(a.opened_at) FILTER (WHERE a.state IN ('firing', 'recovering') AND a.severity = 'warning') AS warning_since,
        max(a.resolved_at) AS resolved_at
    FROM monitor.alert AS a
    WHERE a.model = m.name
) AS alerts
LEFT JOIN LATERAL (
    SELECT a.action, a.opened_at
    FROM monitor.recommendation AS a
    WHERE a.model = m.name AND a.state = 'open'
    ORDER BY a.action = 'WATCH', a.action = 'INSUFFICIENT_DATA', a.opened_at
    LIMIT 1
) AS advice ON true
LEFT JOIN LATERAL (
    SELECT
        bool_or(f.verdict <> 'inconclusive') AS conclusive,
        coalesce(
            bool_or(f.verdict = 'inconclusive') FILTER (WHERE f.check_name = 'power' AND f.part = 'prediction'), false
        ) AS blind  -- even merged windows would not show a shift of the score that matters
    FROM monitor.finding AS f
    WHERE f.run_id = last_run.run_id AND f.window_start = last_run.window_start
) AS verdicts ON true
LEFT JOIN LATERAL (
    SELECT f.subject, f.effect
    FROM monitor.finding AS f
    WHERE f.run_id = last_run.run_id AND f.window_start = last_run.window_start
    ORDER BY
        array_position(ARRAY['critical', 'warning', 'ok', 'inconclusive'], f.verdict),
        array_position(ARRAY['critical', 'warning', 'info'], f.severity),
        abs(f.effect) DESC NULLS LAST
    LIMIT 1
) AS worst ON true
LEFT JOIN LATERAL (
    SELECT
        ((p.value - p.reference_value)
            * q.rows_read / (extract(epoch FROM p.window_end - p.window_start) / 86400.0)::double precision)::numeric
        AS cost_per_day,
        p.currency
    FROM monitor.performance AS p
    JOIN monitor.run AS q
        ON q.model = p.model AND q.role = p.role AND q.part = 'inputs' AND q.state = 'done'
        AND q.window_start = p.window_start AND q.window_end = p.window_end
    WHERE p.model = m.name AND p.role = 'champion' AND p.metric = 'cost_per_prediction' AND p.basis = 'realised'
        AND p.slice = '{}'::jsonb
    ORDER BY p.window_start DESC, p.revision DESC, q.revision DESC
    LIMIT 1
) AS money ON true
LEFT JOIN LATERAL (
    SELECT c.state
    FROM monitor.circuit_event AS c
    WHERE c.model = m.name
    ORDER BY c.at DESC, c.event_id DESC
    LIMIT 1
) AS circuit ON true
WHERE m.removed_at IS NULL
