-- How often advice was right, by model and action. Precision is of what was carried out and judged.
SELECT
    r.model,
    r.action,  -- What was advised.
    count(*) AS advised,  -- How often it was advised.
    count(*) FILTER (WHERE r.state IN ('approved', 'done', 'failed') AND r.decided_by <> 'monitor') AS approved,  -- How often a person approved it.
    count(*) FILTER (WHERE r.state = 'dismissed') AS dismissed,  -- How often a person dismissed it.
    count(*) FILTER (WHERE r.outcome = 'helped') AS helped,  -- How often the loss was lower afterwards.
    count(*) FILTER (WHERE r.outcome = 'did_not_help') AS did_not_help,  -- How often it was not.
    count(*) FILTER (WHERE r.outcome = 'unknown') AS unknown,  -- How often nobody can say, or no new version came.
    count(*) FILTER (WHERE r.outcome = 'helped')::double precision / nullif(count(*) FILTER (WHERE r.outcome IN ('helped', 'did_not_help')), 0) AS precision  -- helped / (helped + did_not_help).
FROM monitor.recommendation AS r
GROUP BY r.model, r.action
