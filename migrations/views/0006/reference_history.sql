-- Training profiles, one row each; they never change, a new one has a new identity.
SELECT
    r.reference_id,  -- SHA-256 of the profile.
    r.model,
    r.model_version,
    r.created_at,  -- When it was stored.
    r.active_from,  -- From when windows are compared with it.
    r.active_until,  -- Until when; empty for the one in use.
    r.rows,  -- Training rows.
    r.holdout_rows,  -- Held-out rows behind the performance in it.
    r.time_from,  -- First time in the training data.
    r.time_to,  -- Last time in the training data.
    r.windows_for_variance,  -- Windows of the training data that natural variance was learned from.
    r.calibrating,  -- Whether these are too few (below 28) for thresholds to be trusted.
    r.features,  -- Features with their types.
    r.packages,  -- Package versions that the model was trained with.
    r.python_version,  -- Python that it was trained with.
    r.importance,  -- Importance of each feature.
    r.business,  -- Business block of the configuration at that time.
    r.source  -- File or query that it was made from.
FROM monitor.reference AS r
