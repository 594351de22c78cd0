-- Changes of a model's circuit and of its canary share.
SELECT
    c.model,
    c.at,  -- When.
    c.state,  -- closed (the model answers), open (the fallback answers) or half_open (probing).
    c.share,  -- Share of requests that the canary answers.
    c.reason,  -- Why.
    c.actor,  -- Person who did it; empty when the monitor did.
    c.fallback,  -- Answer given while the circuit is open.
    c.until  -- When it is tried again.
FROM monitor.circuit_event AS c
