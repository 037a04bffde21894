-- Open a candidate for each of these failures, with its event: one per run and kind, whoever opens beside it. A further failure
-- joins the one that is open, and nothing stands in the way of a new one where that has ended meanwhile. A failure that has a
-- candidate already changes nothing. Returns the candidates that were opened.
CREATE OR REPLACE FUNCTION recovery_open_candidates_v1(p_failures uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_left uuid[] := p_failures;
    v_opened uuid[];
    v_done uuid[];
BEGIN
    WHILE cardinality(v_left) > 0 LOOP
        -- Two that insert the same kinds do so in the same order: they wait for each other one way only.
        WITH opened AS (
            INSERT INTO recovery_recoverycandidate (
                id, failure_id, run_id, origin_run_id, step_id, agent_id, skill, error_kind, fingerprint, fingerprint_version,
                pattern_id, failed_at)
            SELECT execution_uuid7_v1(), f.id, f.run_id, coalesce(carried.origin_run_id, forked.root_run_id, f.run_id), f.step_id,
                   f.agent_id, f.skill, f.error_kind, f.fingerprint, f.fingerprint_version, f.pattern_id, f.failed_at
            FROM recovery_failurematch f
            LEFT JOIN execution_run forked ON forked.id = f.run_id AND forked.forked_from_id IS NOT NULL
            LEFT JOIN LATERAL (
                SELECT c.origin_run_id FROM recovery_recoverycandidate c
                WHERE c.recovery_run_id = f.run_id ORDER BY c.id DESC LIMIT 1) carried ON true
            WHERE f.id = ANY(v_left)
            ORDER BY f.run_id, f.fingerprint_version, f.fingerprint, f.failed_at, f.id
            ON CONFLICT DO NOTHING
            RETURNING id, failure_id, run_id, step_id, agent_id, fingerprint, error_kind
        ), told AS (
            SELECT o.id, o.failure_id, execution_log_v1('candidate.opened', o.run_id, o.step_id, o.agent_id, NULL,
                jsonb_build_object('candidate', o.id, 'kind', o.fingerprint, 'error_kind', o.error_kind))
            FROM opened o
        )
        SELECT array_agg(t.id), array_agg(t.failure_id) INTO v_opened, v_done FROM told t;
        RETURN QUERY SELECT unnest(v_opened);

        WITH further AS (
            SELECT f.id, f.run_id, f.fingerprint_version, f.fingerprint
            FROM (SELECT unnest(v_left) EXCEPT SELECT unnest(v_done)) AS w(id) JOIN recovery_failurematch f ON f.id = w.id
            WHERE NOT EXISTS (SELECT FROM recovery_recoverycandidate c WHERE c.failure_id = f.id)
        ), held AS MATERIALIZED (
            SELECT c.id, k.ids FROM recovery_recoverycandidate c
            JOIN (SELECT run_id, fingerprint_version, fingerprint, array_agg(id) AS ids FROM further GROUP BY 1, 2, 3) k
                USING (run_id, fingerprint_version, fingerprint)
            WHERE c.state NOT IN ('rejected', 'recovered', 'ineffective', 'settled', 'overtaken')
            ORDER BY c.id FOR NO KEY UPDATE OF c
        ), joined AS (
            UPDATE recovery_recoverycandidate c SET joined_count = c.joined_count + cardinality(h.ids)
            FROM held h WHERE c.id = h.id RETURNING h.ids
        )
        SELECT array(SELECT id FROM further EXCEPT SELECT unnest(ids) FROM joined) INTO v_left;
    END LOOP;
END $$;
