-- What looking again at stored tiles came to and cost: one row for each model, part and day (UTC). No row is transferred for it.
SELECT
    c.model,
    c.role,
    c.part,  -- inputs or outcomes.
    c.day,  -- Day on which they were looked at, by the time that the daemon lives in.
    c.checks,  -- Questions that the logs were asked.
    c.tiles,  -- Tiles that were looked at.
    c.tiles_changed,  -- Tiles whose rows were not what they were when the tile was built.
    c.tiles_put_off,  -- Tiles whose turn was left out because re-checks took too long; the last turn never is.
    c.windows_revised,  -- Windows that are judged again because of it.
    c.seconds  -- Seconds that the questions took.
FROM monitor.recheck AS c
