-- Claim one tick of a periodic pass: true for one caller per period; says in how many seconds the next one is due, so that it
-- does not matter which caller's phase wins. Remembers when ticks went on after an interruption.
CREATE OR REPLACE FUNCTION execution_tick_v1(p_name text, p_period interval, p_gap interval DEFAULT '10 seconds')
RETURNS TABLE (is_mine boolean, resumed_at timestamptz, next_seconds double precision, tick_count bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_due timestamptz;
BEGIN
    SELECT c.ticked_at + p_period, c.resumed_at INTO v_due, resumed_at FROM execution_cyclestate c WHERE c.name = p_name;
    IF NOT FOUND THEN
        INSERT INTO execution_cyclestate (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    END IF;
    is_mine := false;
    IF v_due IS NULL OR v_due <= v_now THEN
        UPDATE execution_cyclestate c SET
            ticked_at = v_now, tick_count = c.tick_count + 1,
            resumed_at = CASE WHEN c.ticked_at < v_now - p_gap THEN v_now ELSE c.resumed_at END
        WHERE c.name = (SELECT x.name FROM execution_cyclestate x WHERE x.name = p_name
                        AND (x.ticked_at IS NULL OR x.ticked_at <= v_now - p_period) FOR UPDATE SKIP LOCKED)
        RETURNING true, c.resumed_at, c.tick_count INTO is_mine, resumed_at, tick_count;
        is_mine := coalesce(is_mine, false);
        v_due := v_now + p_period;
    END IF;
    next_seconds := greatest(extract(epoch FROM v_due - v_now), 0);
    RETURN NEXT;
END $$;
