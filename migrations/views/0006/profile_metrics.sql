-- What each column looked like, compared with nothing: one row for each window, slice and column.
SELECT
    p.run_id,
    p.model,
    p.model_version,
    p.role,
    p.slice,
    p.window_start,
    p.window_end,
    p.revision,
    p.column_name,  -- Column of the log, or the prediction.
    p.data_type,  -- numeric, categorical, boolean, timestamp, text or array.
    p.row_count,  -- Rows of the window, missing values included.
    p.num_nulls,  -- Rows in which the value is missing.
    p.num_non_finite,  -- Rows in which it is NaN or infinite.
    p.percent_null,  -- Missing rows in percent of all rows.
    p.percent_zeros,  -- Rows with exactly zero in percent of all rows.
    p.distinct_count,  -- Number of different values, estimated.
    p.avg,  -- Mean of the finite values.
    p.stddev,  -- Standard deviation of the finite values.
    p.min,  -- Smallest finite value.
    p.max,  -- Largest finite value.
    p.quantiles,  -- Quantiles by their level, such as {"0.5": 12.4}, with a relative error of 2 %.
    p.frequent_items,  -- The most frequent values and how often they occurred.
    p.other_count,  -- Rows with a known value that is not among the kept ones.
    p.new_count  -- Rows with a value that the training data never had.
FROM monitor.column_profile AS p
-- latest revision only
WHERE NOT EXISTS (
    SELECT FROM monitor.run AS later
    WHERE later.model = p.model AND later.role = p.role AND later.part = p.run_part
        AND later.window_start = p.window_start AND later.window_end = p.window_end
        AND later.revision > p.revision AND later.state = 'done'
)
