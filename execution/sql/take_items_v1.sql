-- Take more items for a lane that holds none: those that are due again, else the next that nobody has had, else half of what
-- another lane holds and has not begun, where that lane is busy with one item for longer than it may go on unheard. The share
-- shrinks towards the end, so that the lanes end together. The caller holds the lane's row. With nothing to take it answers in
-- how many seconds to look again; null: never, what is left is in hands that will end it.
CREATE OR REPLACE FUNCTION execution_take_items_v1(
    p_step uuid, p_job uuid, p_steal_after interval DEFAULT '1 second', OUT open int[], OUT wake_seconds double precision
) LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    j record;
    v_other record;
    v_due int;
    v_share int;
BEGIN
    SELECT coalesce((SELECT u.value::int FROM execution_tunable u WHERE u.name = 'jobs.chunk' AND u.subject = x.skill), x.chunk) AS chunk,
           x.lane_count, x.item_count, x.next_position INTO j FROM execution_job x WHERE x.run_id = p_job;

    SELECT count(*) INTO v_due FROM (
        SELECT 1 FROM execution_jobitem i WHERE i.job_id = p_job AND i.due_at <= v_now LIMIT 2 * j.chunk * j.lane_count) few;
    IF v_due > 0 THEN
        WITH due AS MATERIALIZED (
            SELECT i.position FROM execution_jobitem i WHERE i.job_id = p_job AND i.due_at <= v_now
            ORDER BY i.due_at LIMIT least(j.chunk, ceil(v_due / (2.0 * j.lane_count))) FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE execution_jobitem i SET due_at = NULL FROM due d
            WHERE i.job_id = p_job AND i.position = d.position RETURNING i.position
        )
        SELECT array_agg(t.position ORDER BY t.position) INTO open FROM taken t;
        IF open IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;

    IF j.next_position <= j.item_count THEN
        SELECT x.next_position INTO j.next_position FROM execution_job x WHERE x.run_id = p_job FOR NO KEY UPDATE;
        v_share := least(j.chunk, ceil((j.item_count - j.next_position + 1) / (2.0 * j.lane_count)));
        IF v_share > 0 THEN
            UPDATE execution_job x SET next_position = j.next_position + v_share WHERE x.run_id = p_job;
            open := ARRAY(SELECT generate_series(j.next_position, j.next_position + v_share - 1));
            RETURN;
        END IF;
    END IF;

    -- The first that another lane holds is the one it may have begun: that is never taken from it.
    SELECT l.step_id, l.open AS held, cardinality(l.open) / 2 AS share INTO v_other FROM execution_joblane l
    WHERE l.job_id = p_job AND l.step_id <> p_step AND cardinality(l.open) > 1 AND l.heard_at < v_now - p_steal_after
    ORDER BY cardinality(l.open) DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        open := v_other.held[cardinality(v_other.held) - v_other.share + 1 :];
        UPDATE execution_joblane l SET open = trim_array(l.open, v_other.share) WHERE l.step_id = v_other.step_id;
        RETURN;
    END IF;

    SELECT extract(epoch FROM greatest(min(w.at), v_now + interval '50 milliseconds') - v_now) INTO wake_seconds FROM (
        (SELECT i.due_at AS at FROM execution_jobitem i WHERE i.job_id = p_job AND i.due_at IS NOT NULL ORDER BY i.due_at LIMIT 1)
        UNION ALL
        (SELECT l.heard_at + p_steal_after FROM execution_joblane l
         WHERE l.job_id = p_job AND l.step_id <> p_step AND cardinality(l.open) > 1)) w
    HAVING count(*) > 0;
END $$;
