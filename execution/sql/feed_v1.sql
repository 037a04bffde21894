-- Choose the steps to ring for: the most urgent first, among equals those of agents with the fewest messages outstanding, up to
-- the room of each queue's window; and again those whose message seems to be stuck while a slot is free, backing off from 10 s to
-- 5 min, unless that would put more than a window into the broker. p_sent says how many messages it holds, late ones among them.
-- What a full key or an open breaker would refuse is put to wait without a message. Two feeds at once share no queue.
CREATE OR REPLACE FUNCTION execution_feed_v1(
    p_queues text[], p_free int[], p_window int DEFAULT 500, p_sent int[] DEFAULT NULL
)
RETURNS TABLE (step_id uuid, skill text, queue text, priority smallint, canvas jsonb)
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_queue text;
    v_index int := 0;
    v_room int;
    v_look int;
    v_seen int;
    v_ids uuid[];
    v_key uuid[];
    v_breaker uuid[];
BEGIN
    FOREACH v_queue IN ARRAY p_queues LOOP
        v_index := v_index + 1;
        IF NOT pg_try_advisory_xact_lock(hashtextextended(v_queue, 7005)) THEN
            CONTINUE;
        END IF;
        SELECT execution_window_v1(v_queue, p_window) - count(*) INTO v_room FROM (
            SELECT 1 FROM execution_step s WHERE s.state = 'ready' AND s.rung_at IS NOT NULL AND s.queue = v_queue LIMIT p_window) o;
        v_room := least(v_room, p_window - coalesce(p_sent[v_index], 0));
        v_ids := '{}'; v_key := '{}'; v_breaker := '{}';
        IF v_room > 0 THEN
            -- More are looked at than rung for, and many more where those are refused, so that they do not hold up the others.
            v_look := greatest(2 * v_room, 40);
            LOOP
                WITH RECURSIVE lines AS (
                    (SELECT s.priority, s.agent_id, 1 AS n FROM execution_step s
                     WHERE s.state = 'ready' AND s.rung_at IS NULL AND s.queue = v_queue
                     ORDER BY s.queue, s.priority DESC, s.agent_id LIMIT 1)
                    UNION ALL
                    SELECT x.priority, x.agent_id, l.n + 1 FROM lines l CROSS JOIN LATERAL (
                        SELECT * FROM (
                            (SELECT s.priority, s.agent_id FROM execution_step s
                             WHERE s.state = 'ready' AND s.rung_at IS NULL AND s.queue = v_queue
                               AND s.priority = l.priority AND s.agent_id > l.agent_id
                             ORDER BY s.queue, s.priority DESC, s.agent_id LIMIT 1)
                            UNION ALL
                            (SELECT s.priority, s.agent_id FROM execution_step s
                             WHERE s.state = 'ready' AND s.rung_at IS NULL AND s.queue = v_queue AND s.priority < l.priority
                             ORDER BY s.queue, s.priority DESC, s.agent_id LIMIT 1)
                        ) y ORDER BY y.priority DESC, y.agent_id LIMIT 1) x
                    WHERE l.n < greatest(v_room, 200)
                ), outstanding AS (
                    SELECT s.agent_id, s.priority, count(*) AS n FROM execution_step s
                    WHERE s.state = 'ready' AND s.rung_at IS NOT NULL AND s.queue = v_queue GROUP BY s.agent_id, s.priority
                ), sized AS (
                    SELECT l.priority, l.agent_id, coalesce(o.n, 0) AS sent,
                           greatest(ceil(v_look::numeric / greatest(count(*) OVER (PARTITION BY l.priority), 1)), 2)::int AS share
                    FROM lines l LEFT JOIN outstanding o ON o.agent_id = l.agent_id AND o.priority = l.priority
                ), picked AS (
                    SELECT s.id, s.key, s.breaker, s.has_fallback, l.priority,
                           l.sent + row_number() OVER (PARTITION BY l.priority, l.agent_id ORDER BY s.id) AS turn
                    FROM sized l CROSS JOIN LATERAL (
                        SELECT x.id, x.key, x.breaker, x.options ? 'fallback' AS has_fallback FROM execution_step x
                        WHERE x.state = 'ready' AND x.rung_at IS NULL AND x.queue = v_queue
                          AND x.priority = l.priority AND x.agent_id = l.agent_id
                        ORDER BY x.queue, x.priority DESC, x.agent_id, x.id LIMIT l.share) s
                ), chosen AS (
                    SELECT p.*, row_number() OVER (PARTITION BY p.key ORDER BY p.priority DESC, p.turn, p.id) AS key_place,
                           row_number() OVER (PARTITION BY p.breaker ORDER BY p.priority DESC, p.turn, p.id) AS breaker_place
                    FROM (SELECT p.* FROM picked p ORDER BY p.priority DESC, p.turn, p.id LIMIT v_look) p
                ), keys AS (
                    SELECT k.name, k.limit_count
                        - (SELECT count(*) FROM (SELECT 1 FROM execution_step x WHERE x.key = k.name AND x.state = 'running'
                                                 LIMIT k.limit_count) r)
                        - (SELECT count(*) FROM execution_step x WHERE x.state = 'ready' AND x.rung_at IS NOT NULL AND x.queue = v_queue
                           AND x.key = k.name) AS room
                    FROM execution_concurrencykey k
                    WHERE k.limit_count IS NOT NULL AND k.name IN (SELECT c.key FROM chosen c WHERE c.key IS NOT NULL)
                ), breakers AS (
                    SELECT b.name, CASE WHEN b.probe_at > v_now THEN 0 ELSE 1 END AS room FROM execution_breaker b
                    WHERE b.state <> 'closed' AND b.name IN (SELECT c.breaker FROM chosen c)
                ), judged AS (
                    SELECT c.id, c.priority, c.turn, c.key_place > k.room AS is_over_key,
                           c.breaker_place > b.room AND NOT c.has_fallback AS is_over_breaker
                    FROM chosen c LEFT JOIN keys k ON k.name = c.key LEFT JOIN breakers b ON b.name = c.breaker
                )
                SELECT coalesce(array_agg(j.id ORDER BY j.priority DESC, j.turn, j.id)
                                FILTER (WHERE j.is_over_key IS NOT TRUE AND j.is_over_breaker IS NOT TRUE), '{}'),
                       coalesce(array_agg(j.id) FILTER (WHERE j.is_over_breaker), '{}'),
                       coalesce(array_agg(j.id) FILTER (WHERE j.is_over_key AND j.is_over_breaker IS NOT TRUE), '{}'),
                       count(*)
                INTO v_ids, v_breaker, v_key, v_seen FROM judged j;
                v_ids := v_ids[:v_room];
                IF cardinality(v_key) + cardinality(v_breaker) > 0 THEN
                    WITH put AS (
                        SELECT s.id, s.breaker FROM execution_step s WHERE s.id = ANY (v_key || v_breaker) AND s.state = 'ready'
                        AND s.rung_at IS NULL ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED
                    )
                    UPDATE execution_step s SET state = 'waiting', changed_at = v_now,
                        waiting = CASE WHEN s.id = ANY (v_breaker) THEN 'breaker' ELSE 'key' END,
                        wake_at = CASE WHEN s.id = ANY (v_breaker)
                                       THEN (SELECT b.probe_at FROM execution_breaker b WHERE b.name = put.breaker) END
                    FROM put WHERE s.id = put.id;
                END IF;
                EXIT WHEN cardinality(v_ids) = v_room OR v_seen < v_look OR v_look >= 200;
                v_look := greatest(v_room, 200);
            END LOOP;
        END IF;
        IF p_free[v_index] > 0 THEN
            v_ids := v_ids || ARRAY(
                SELECT s.id FROM execution_step s
                WHERE s.state = 'ready' AND s.queue = v_queue AND s.rung_at < v_now - interval '10 seconds'
                  AND s.rung_at < v_now - make_interval(secs => least(10 * power(2, least(greatest(s.ring_count, 1), 6) - 1), 300))
                ORDER BY s.queue, s.rung_at
                LIMIT greatest(least(10 * p_free[v_index], p_window - coalesce(p_sent[v_index], 0) - cardinality(v_ids)), 0));
        END IF;
        RETURN QUERY
            WITH held AS (
                SELECT s.id, s.ctid AS place FROM execution_step s WHERE s.id = ANY (v_ids) AND s.state = 'ready'
                ORDER BY s.id FOR NO KEY UPDATE SKIP LOCKED
            ), rung AS (
                UPDATE execution_step s SET rung_at = v_now, ring_count = least(s.ring_count + 1, 100)
                FROM held h WHERE s.ctid = h.place AND s.id = h.id RETURNING s.id, s.skill::text, s.queue::text, s.priority,
                          s.canvas - '{follows,chord,foreign_chord,children,state}'::text[] AS light
            )
            SELECT r.id, r.skill, r.queue, r.priority, r.light FROM rung r ORDER BY r.priority DESC, array_position(v_ids, r.id);
    END LOOP;
END $$;
