-- Distances between a column's window and its reference, one row for each window, slice, column and kind of reference. They are
-- computed for every column whether or not they decide anything.
SELECT
    s.run_id,
    s.model,
    s.model_version,
    s.role,
    s.slice,
    s.window_start,
    s.window_end,
    s.revision,
    s.column_name,  -- Column of the log, or the prediction.
    s.data_type,  -- numeric, categorical, boolean, timestamp, text or array.
    s.part,  -- input, prediction or outcome.
    s.n_current,  -- Rows of the window.
    s.n_reference,  -- Rows of the reference.
    s.population_stability_index,  -- PSI corrected for the bias that sampling alone gives it.
    s.psi_raw,  -- PSI as usually written down.
    s.js_distance,  -- Jensen-Shannon distance, base 2: 0 is equal, 1 is disjoint.
    s.ks_statistic,  -- Kolmogorov-Smirnov statistic; for numeric columns.
    s.ks_p_value,  -- Its p-value if rows were independent, which they seldom are.
    s.wasserstein_distance,  -- Wasserstein distance in reference standard deviations; for numeric columns.
    s.chi_squared_statistic,  -- Chi-squared statistic over bins or categories.
    s.chi_squared_p_value,  -- Its p-value if rows were independent, which they seldom are.
    s.tv_distance,  -- Total variation distance: share of rows that would have to move.
    s.l_infinity_distance,  -- Largest change of the share of one bin or category.
    s.hellinger_distance,  -- Hellinger distance: 0 is equal, 1 is disjoint.
    s.mean_delta,  -- Change of the mean in the column's own unit.
    s.null_share_delta,  -- Change of the share of missing values.
    s.new_category_share,  -- Share of rows with a value that the training data never had.
    s.effect,  -- Size of the shift in reference standard deviations, with its sign.
    s.minimum_detectable,  -- Smallest effect that this window could have shown.
    s.verdict,  -- ok, warning, critical or inconclusive.
    s.severity,  -- Harm: info, warning or critical.
    s.impact,  -- Shift of the prediction that this explains, in prediction standard deviations.
    r.reference_id,  -- Training profile that was compared with.
    s.reference_kind  -- What it was compared with: training, season, trailing, previous, champion or absolute.
FROM monitor.column_statistic AS s
LEFT JOIN monitor.run AS r ON r.run_id = s.run_id
-- latest revision only
WHERE NOT EXISTS (
    SELECT FROM monitor.run AS later
    WHERE later.model = s.model AND later.role = s.role AND later.part = s.run_part
        AND later.window_start = s.window_start AND later.window_end = s.window_end
        AND later.revision > s.revision AND later.state = 'done'
)
