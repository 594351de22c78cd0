-- What happened to alerts, one row for each change; rows are only ever added.
SELECT
    e.model,
    e.model_version,
    e.role,
    e.slice,
    e.alert_key,  -- Identity of the alert.
    e.episode,  -- Number of the episode.
    e.at,  -- When the change was recorded.
    e.window_start,  -- Begin of the window that caused it.
    e.revision,  -- Revision of that window.
    e.from_state,  -- State before; inactive when there was none.
    e.to_state,  -- State after.
    e.reason,  -- Why.
    e.actor  -- Person who did it; empty when the evidence did.
FROM monitor.alert_event AS e
