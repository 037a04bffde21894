-- Say of an ending that comes too late whether it is the attempt's own: `already` when it was written before, else `stale`.
CREATE OR REPLACE FUNCTION execution_late_v1(p_attempt uuid, p_epoch int) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT 1 FROM execution_attempt t WHERE t.id = p_attempt AND t.epoch = p_epoch
                             AND t.ending NOT IN ('', 'lost', 'crashed')) THEN 'already' ELSE 'stale' END
$$;
