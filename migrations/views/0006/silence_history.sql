-- Silences, one row each. A silence keeps alerts from being told; they are judged and stored all the same.
SELECT
    s.silence_id,  -- Identity; what unsilence takes.
    s.matchers,  -- What an alert must look like to be silenced.
    s.starts_at,  -- From when.
    s.ends_at,  -- Until when.
    s.author,  -- Who asked for it.
    s.reason,  -- Why.
    s.ended_by  -- Who ended it early.
FROM monitor.silence AS s
