-- Share a run's lock: nobody pauses, cancels or ends it meanwhile. It stands for the run in the lock order without writing the row.
CREATE OR REPLACE FUNCTION execution_share_run_v1(p_run uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(uuid_hash_extended(p_run, 7001))
$$;
