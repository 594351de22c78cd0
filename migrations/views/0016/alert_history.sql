-- Alerts, one row for each episode from opening to resolution.
SELECT
    a.model,
    a.model_version,
    a.role,
    a.slice,
    a.alert_key,  -- Identity of the alert over all its episodes; no value, threshold or window is part of it.
    a.episode,  -- Number of the episode, counted from 1.
    a.title,  -- What it is about, in one line.
    a.severity,  -- Harm: info, warning or critical.
    a.state,  -- pending, firing, recovering, resolved, expired (its subject is gone) or superseded (by a new training profile).
    a.opened_at,  -- When it opened.
    a.opened_window_start,  -- Begin of the window that opened it.
    a.opened_window_end,  -- End of the window that opened it.
    a.began_at,  -- When the change is estimated to have begun.
    a.acknowledged_by,  -- Who has taken it on.
    a.acknowledged_at,  -- When.
    a.silenced,  -- Whether a silence keeps it from being told.
    a.inhibited_by,  -- Alert key of the root cause that stands for it.
    a.stale_since,  -- Since when there has been no evidence; an alert without evidence stays as it is.
    a.flapping,  -- Whether it changed too often lately to be told each time.
    a.resolved_at,  -- When it was over.
    a.resolved_window_start,  -- Begin of the window that resolved it.
    a.cause,  -- data, concept, drift, resource, release or pipeline.
    a.subjects,  -- What it concerns, with sizes: a JSON list.
    a.impact_cost,  -- Money lost or at stake.
    a.currency,  -- Currency of the money in this row.
    (
        SELECT count(*)::integer
        FROM monitor.notification_alert AS n
        JOIN monitor.delivery AS d ON d.notification_id = n.notification_id AND d.state = 'sent'
        WHERE n.alert_key = a.alert_key AND n.episode = a.episode
    ) AS notifications_sent,  -- Messages about this episode that were delivered, over all channels.
    a.began_earliest,  -- Earliest window the change may have begun with (90 % with began_latest); empty where it may be older than the windows looked at.
    a.began_latest,  -- Latest window the change may have begun with; empty where no interval is estimated.
    a.family  -- Which kind of finding it is about; each has a section in the runbook.
FROM monitor.alert AS a
WHERE a.state <> 'inactive'
