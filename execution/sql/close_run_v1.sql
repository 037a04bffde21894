-- End a run of several steps if none of them is left; what was cancelled with its phase does not count against it; the caller holds the run, so that the last two cannot miss each other.
CREATE OR REPLACE FUNCTION execution_close_run_v1(p_run uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM execution_step x WHERE x.run_id = p_run AND x.id <> x.run_id
               AND x.state IN ('blocked', 'ready', 'running', 'waiting', 'parked')) THEN
        RETURN false;
    END IF;
    PERFORM execution_end_run_v1(p_run, CASE WHEN EXISTS (
        SELECT 1 FROM execution_step x WHERE x.run_id = p_run AND x.state = 'cancelled' AND NOT EXISTS (
            SELECT 1 FROM execution_phase p WHERE p.id = x.phase_id AND p.closed_at IS NOT NULL)) THEN 'cancelled' ELSE 'completed' END, NULL);
    RETURN true;
END $$;
