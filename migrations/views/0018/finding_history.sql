-- Judgements: one row for each window, slice, check, subject, statistic and kind of reference. Begin here to learn what the monitor
-- thought of a window and why.
SELECT
    f.run_id,
    f.model,
    f.model_version,
    f.role,
    f.slice,
    f.window_start,
    f.window_end,
    f.revision,
    f.check_name,  -- Check that judged, such as drift, sudden, quality, performance.
    f.part,  -- What was judged: input, prediction, outcome, process, release or pipeline.
    f.subject,  -- Column, score, metric or process the judgement is about.
    f.statistic,  -- Statistic that was computed.
    f.reference_kind,  -- What it was compared with: training, season, trailing, previous, champion or absolute.
    f.value,  -- The statistic in this window.
    f.reference_value,  -- The same statistic in the reference.
    f.effect,  -- Size of the shift in reference standard deviations, with its sign.
    f.materiality,  -- Smallest effect that matters for this subject.
    f.threshold,  -- Value beyond which the verdict changes.
    f.threshold_source,  -- Where the threshold comes from: budget (of false alerts), configured or default.
    f.p_value,  -- Probability of such a value without a change, natural variance included.
    f.p_adjusted,  -- The p-value after accounting for all subjects judged together.
    f.interval_low,  -- Lower end of the interval of the value.
    f.interval_high,  -- Upper end of the interval of the value.
    f.minimum_detectable,  -- Smallest effect that this window could have shown.
    f.verdict,  -- ok, warning, critical or inconclusive (not enough evidence, which is not good news).
    f.severity,  -- Harm: info, warning or critical.
    f.impact,  -- Shift of the prediction that this explains, in prediction standard deviations.
    f.impact_cost,  -- Money lost or at stake in this window because of it.
    f.currency,  -- Currency of the money in this row.
    f.began_at,  -- When the change is estimated to have begun.
    f.reason,  -- Why the verdict is what it is, as a short stable word.
    f.message,  -- The same for people, in a sentence.
    f.n_current,  -- Rows or outcomes of the window behind the value.
    f.n_reference,  -- Rows or windows of the reference behind the comparison.
    r.reference_id,  -- Training profile that was compared with.
    r.config_hash,  -- Configuration that was in force.
    r.code_version,  -- Version of the monitor that judged.
    f.evaluated_at,  -- When the judgement was made.
    (f.extras #>> '{details,began,earliest}')::timestamptz AS began_earliest,  -- Earliest window it may have begun with (90 % with began_latest); empty where that may be older than the windows looked at.
    (f.extras #>> '{details,began,latest}')::timestamptz AS began_latest,  -- Latest window it may have begun with; empty where no beginning is estimated.
    f.extras #>> '{details,moved}' AS moved,  -- What moved: sudden (the last weeks were ordinary), slow, known (they were so already), seasonal (training was so in this slot).
    (f.extras #>> '{details,sampled,share}')::float8 AS sampled_share,  -- Share of the window's rows that was drawn and read; empty where all were.
    (f.extras #>> '{details,sampled,error}')::float8 AS sampling_error  -- Standard error of a mean because of that, in standard deviations of one row; part of p_value and minimum_detectable.
FROM monitor.finding AS f
LEFT JOIN monitor.run AS r ON r.run_id = f.run_id
-- latest revision only
WHERE NOT EXISTS (
    SELECT FROM monitor.run AS later
    WHERE later.model = f.model AND later.role = f.role AND later.part = f.run_part
        AND later.window_start = f.window_start AND later.window_end = f.window_end
        AND later.revision > f.revision AND later.state = 'done'
)
