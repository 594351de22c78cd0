-- How good the predictions were, one row for each window, slice, metric and basis; realised rows need labels that have matured.
SELECT
    p.run_id,
    p.model,
    p.model_version,
    p.role,
    p.slice,
    p.window_start,
    p.window_end,
    p.revision,
    p.metric,  -- Metric, such as auc, log_loss, mae or cost_per_prediction.
    p.basis,  -- realised (from labels) or estimated (before labels are there).
    p.value,  -- The metric in this window.
    p.interval_low,  -- Lower end of its interval.
    p.interval_high,  -- Upper end of its interval.
    p.reference_value,  -- The metric on the held-out training data.
    p.target,  -- What the business calls good enough, if it said so for this metric.
    p.label_coverage,  -- Share of the window's predictions that have a label.
    p.label_delay_p50,  -- Median time from prediction to label.
    p.matured,  -- Number of predictions with a matured label.
    p.cost_per_prediction,  -- Money lost per prediction by the model's errors.
    p.fallback_cost_per_prediction,  -- Money lost per prediction if the fallback had answered instead.
    p.currency,  -- Currency of the money in this row.
    p.verdict  -- ok, warning, critical or inconclusive.
FROM monitor.performance AS p
-- latest revision only
WHERE NOT EXISTS (
    SELECT FROM monitor.run AS later
    WHERE later.model = p.model AND later.role = p.role AND later.part = p.run_part
        AND later.window_start = p.window_start AND later.window_end = p.window_end
        AND later.revision > p.revision AND later.state = 'done'
)
