-- Claim open candidates for one evaluator: the urgent ones first, then the oldest, none that another one holds. The lease and the
-- epoch, which rises with each claim, fence the evaluation; when a lease has ended the next claim takes the row.
CREATE OR REPLACE FUNCTION recovery_claim_candidates_v1(
    p_by text, p_limit int, p_lease interval, p_only uuid[] DEFAULT NULL
) RETURNS TABLE (id uuid, epoch int, claim_count int) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH free AS MATERIALIZED (
        SELECT c.id FROM recovery_recoverycandidate c
        WHERE c.state = 'open' AND (c.lease_until IS NULL OR c.lease_until <= v_now) AND (p_only IS NULL OR c.id = ANY(p_only))
        ORDER BY c.is_urgent DESC, c.id LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE recovery_recoverycandidate c
    SET claimed_by = p_by, lease_until = v_now + p_lease, epoch = c.epoch + 1, claim_count = c.claim_count + 1
    FROM free f WHERE c.id = f.id
    RETURNING c.id, c.epoch, c.claim_count;
END $$;
