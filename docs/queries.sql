-- Where does each model stand?
SELECT model, light, since, worst_subject, worst_effect, open_alerts, open_recommendation, last_window_end
FROM model_status;

-- What happened lately, and who was told?
SELECT opened_window_start, title, severity, state, cause, resolved_window_start, notifications_sent
FROM alert_history
WHERE state <> 'pending'
ORDER BY opened_at DESC
LIMIT 20;

-- Why was an alert opened? The findings of its first window, worst first.
SELECT a.title, f.check_name, f.subject, f.statistic, f.value, f.threshold, f.effect, f.message
FROM alert_history AS a
JOIN finding_history AS f
    ON f.model = a.model AND f.role = a.role AND f.slice = a.slice AND f.window_start = a.opened_window_start
WHERE f.verdict IN ('warning', 'critical')
ORDER BY a.opened_at DESC, f.severity = 'critical' DESC, abs(f.effect) DESC NULLS LAST
LIMIT 50;

-- Which columns have drifted most over the last 30 windows?
SELECT column_name, count(*) AS windows, avg(abs(effect)) AS mean_effect, max(population_stability_index) AS largest_psi
FROM drift_metrics
WHERE part = 'input' AND reference_kind = 'training' AND slice = '{}'
    AND window_start >= (SELECT max(window_end) FROM drift_metrics) - interval '30 days'
GROUP BY column_name
ORDER BY mean_effect DESC NULLS LAST;

-- One statistic of one column over time, as a chart wants it.
SELECT window_start, value, threshold, verdict
FROM drift_history
WHERE feature = 'temp' AND statistic = 'population_stability_index' AND reference_kind = 'training' AND slice = '{}'
ORDER BY window_start;

-- How good were the predictions by week, compared with what training promised?
SELECT date_trunc('week', window_start) AS week, metric, avg(value) AS realised, avg(reference_value) AS promised,
    sum(matured) AS labelled
FROM performance_history
WHERE basis = 'realised' AND slice = '{}'
GROUP BY week, metric
ORDER BY week, metric;

-- What would the scores alone have said, days before the labels came?
SELECT window_start, max(value) FILTER (WHERE basis = 'estimated') AS estimated,
    max(interval_low) FILTER (WHERE basis = 'estimated') AS low,
    max(interval_high) FILTER (WHERE basis = 'estimated') AS high,
    max(value) FILTER (WHERE basis = 'realised') AS realised
FROM performance_history
WHERE metric = 'auc' AND slice = '{}'
GROUP BY window_start
ORDER BY window_start;

-- Which groups of people are treated otherwise than the reference group, by how much, and of how many people is that?
SELECT window_start, slice, statistic, value, reference_value, effect, interval_low, interval_high, n_current
FROM finding_history
WHERE check_name = 'fairness' AND reference_kind = 'group' AND verdict = 'warning' AND slice <> '{}'
ORDER BY window_start DESC, abs(effect) DESC;

-- What would not have been seen? The smallest shift that each check could have found in the last window.
SELECT DISTINCT ON (check_name, subject) check_name, subject, minimum_detectable, n_current, window_start
FROM finding_history
WHERE minimum_detectable IS NOT NULL
ORDER BY check_name, subject, window_start DESC;

-- Is any window missing, dead or skipped? No row means that all of them were judged.
SELECT model, role, window_start, window_end, state, reason, attempts
FROM run_history
WHERE state <> 'done'
ORDER BY window_start;

-- Does one window follow the other? No row means that there is no gap.
SELECT model, role, window_end AS gap_begins, next_start AS gap_ends
FROM (
    SELECT model, role, window_end,
        lead(window_start) OVER (PARTITION BY model, role ORDER BY window_start) AS next_start
    FROM run_history
) AS pairs
WHERE next_start > window_end;

-- Which windows were judged again, and did the verdict change?
SELECT f.window_start, f.check_name, f.subject, f.revision, f.verdict, f.value
FROM finding_history_revisions AS f
WHERE EXISTS (
    SELECT FROM finding_history_revisions AS other
    WHERE other.model = f.model AND other.role = f.role AND other.window_start = f.window_start
        AND other.check_name = f.check_name AND other.revision > f.revision AND f.revision >= 1
)
ORDER BY f.window_start, f.check_name, f.subject, f.revision;

-- What is missing or new in the data, by day?
SELECT window_start, column_name, percent_null, new_count, distinct_count
FROM profile_metrics
WHERE percent_null > 5 OR new_count > 0
ORDER BY window_start DESC, percent_null DESC NULLS LAST
LIMIT 50;

-- What was advised, what was decided, and did it help?
SELECT opened_at, model, action, state, why, expected_benefit, expected_cost, currency, decided_by, outcome
FROM recommendation_history
ORDER BY opened_at DESC;

-- How often does what the model says come true? The calibration curve of the last 30 windows beside training's.
SELECT metric, sum(value * matured) / sum(matured) AS came_true, avg(reference_value) AS in_training, count(*) AS windows
FROM performance_history
WHERE basis = 'realised' AND slice = '{}' AND metric LIKE 'observed_rate:%'
    AND window_start >= (SELECT max(window_end) FROM performance_history) - interval '30 days'
GROUP BY metric
ORDER BY metric;

-- How often was our advice right?
SELECT model, action, advised, approved, dismissed, helped, did_not_help, unknown, round(precision::numeric, 2) AS precision
FROM recommendation_precision
ORDER BY model, action;

-- Has everything been delivered? No row means yes.
SELECT created_at, channel, state, attempts, next_at, last_error, subject_line
FROM notification_history
WHERE state IN ('pending', 'sending', 'held', 'dead')
ORDER BY created_at;

-- Does a serving process use more memory than is usual for it?
SELECT process, sampled_at, rss_bytes / 1024 / 1024 AS rss_mb, rss_ratio, leak_bytes_per_hour / 1048576 AS leak_mb_per_hour,
    time_to_limit
FROM resource_history
WHERE rss_ratio > 1.5
ORDER BY sampled_at DESC
LIMIT 100;

-- Which training profile was in force when?
SELECT model, model_version, active_from, active_until, rows, holdout_rows, windows_for_variance, calibrating, source
FROM reference_history
ORDER BY model, active_from;

-- What became of one request?
SELECT * FROM request_trace WHERE request_id = '4711';
