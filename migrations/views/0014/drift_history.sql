-- The distances of drift_metrics, one row for each statistic: convenient for a chart of one statistic over time.
SELECT
    s.run_id,
    s.model,
    s.model_version,
    s.role,
    s.slice,
    s.window_start,
    s.window_end,
    s.revision,
    s.column_name AS feature,  -- Column of the log, or the prediction.
    long.statistic,  -- Name of the column of drift_metrics that the value comes from.
    long.value,  -- The statistic in this window.
    (s.thresholds ->> long.statistic)::double precision AS threshold,  -- Plain threshold that was configured for it, if any.
    s.verdict,  -- Verdict on the column: ok, warning, critical or inconclusive.
    s.severity,  -- Harm: info, warning or critical.
    s.n_current,  -- Rows of the window.
    s.n_reference,  -- Rows of the reference.
    s.reference_kind,  -- What it was compared with: training, season, trailing, previous, champion or absolute.
    r.reference_id  -- Training profile that was compared with.
FROM monitor.column_statistic AS s
LEFT JOIN monitor.run AS r ON r.run_id = s.run_id
CROSS JOIN LATERAL (
    VALUES
    ('population_stability_index', s.population_stability_index),
    ('psi_raw', s.psi_raw),
    ('js_distance', s.js_distance),
    ('ks_statistic', s.ks_statistic),
    ('ks_p_value', s.ks_p_value),
    ('wasserstein_distance', s.wasserstein_distance),
    ('chi_squared_statistic', s.chi_squared_statistic),
    ('chi_squared_p_value', s.chi_squared_p_value),
    ('tv_distance', s.tv_distance),
    ('l_infinity_distance', s.l_infinity_distance),
    ('hellinger_distance', s.hellinger_distance),
    ('mean_delta', s.mean_delta),
    ('null_share_delta', s.null_share_delta),
    ('new_category_share', s.new_category_share),
    ('effect', s.effect)
) AS long (statistic, value)
WHERE long.value IS NOT NULL
-- latest revision only
AND NOT EXISTS (
    SELECT FROM monitor.run AS later
    WHERE later.model = s.model AND later.role = s.role AND later.part = s.run_part
        AND later.window_start = s.window_start AND later.window_end = s.window_end
        AND later.revision > s.revision AND later.state = 'done'
)
