-- What the serving processes used, one row for each sample.
SELECT
    s.model,
    s.model_version,
    s.process,  -- Name of the serving process.
    s.pid,  -- Its process id; a new one is a restart.
    s.started_at,  -- When the process was started.
    s.sampled_at,  -- When the sample was taken.
    s.rss_bytes,  -- Resident memory.
    s.uss_bytes,  -- Memory that would be free if the process ended.
    s.cpu_seconds,  -- Processor time since it was started.
    s.cpu_percent,  -- Processor time since the sample before; 100 is one core.
    s.threads,  -- Number of threads.
    s.open_files,  -- Number of open file descriptors.
    s.restarts,  -- Restarts seen so far.
    s.memory_limit_bytes,  -- Memory at which the operating system will kill it.
    s.baseline_rss_bytes,  -- Resident memory that is usual for this model version.
    s.rss_ratio,  -- Resident memory divided by the usual.
    s.leak_bytes_per_hour,  -- Steady growth, if there is one.
    s.time_to_limit  -- Time until the limit is reached at this growth.
FROM monitor.resource_sample AS s
