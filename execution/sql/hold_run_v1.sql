-- Hold a run alone: for who pauses, cancels, signals or ends it.
CREATE OR REPLACE FUNCTION execution_hold_run_v1(p_run uuid) RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(uuid_hash_extended(p_run, 7001))
$$;
