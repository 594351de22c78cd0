-- What people were told, one row for each message and channel.
SELECT
    n.model,
    n.role,
    n.slice,
    n.window_start,
    n.window_end,
    n.revision,
    n.notification_id,  -- Printed in the message; the same when it had to be sent again.
    d.channel,  -- Name of the channel in the configuration.
    n.reason,  -- Why it was sent: first, escalated, repeated, resolved, digest, recommendation and so on.
    n.subject_line,  -- First line of the message.
    d.state,  -- pending, sending, sent, held, superseded (by a newer one of its group) or dead.
    d.attempts,  -- How often it was tried.
    n.created_at,  -- When it was decided, in the same transaction as the alert.
    d.sent_at,  -- When the channel accepted it.
    d.next_at,  -- When it is tried next.
    d.last_error,  -- What the channel said last.
    d.possible_duplicate  -- Whether an attempt before may have arrived without our knowing.
FROM monitor.notification AS n
JOIN monitor.delivery AS d ON d.notification_id = n.notification_id
