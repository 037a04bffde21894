-- Let go of a lock: true for its holder, false for anybody else, who changes nothing. One whose time had run out counts as lost.
CREATE OR REPLACE FUNCTION recovery_release_lock_v1(p_name text, p_holder text, p_token bigint)
RETURNS boolean LANGUAGE sql VOLATILE AS $$
    WITH released AS (
        UPDATE recovery_distributedlock SET
            holder = '', until = NULL, lost_count = lost_count + (until <= clock_timestamp())::int
        WHERE name = p_name AND holder = p_holder AND token = p_token RETURNING 1)
    SELECT EXISTS (SELECT 1 FROM released)
$$;
