-- An id for a record that is newer than each of its parents, also where the clock was set back or the parents were made
-- by another server: then it follows the newest of them. So every edge of the lineage leads to a lesser id.
CREATE OR REPLACE FUNCTION execution_newer_v1(p_parents uuid[]) RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT greatest(execution_uuid7_v1(), (
        SELECT encode(substring(uuid_send(p) FROM 1 FOR 8)
                      || int8send(('x' || right(replace(p::text, '-', ''), 16))::bit(64)::bigint + 1), 'hex')::uuid
        FROM unnest(p_parents) p ORDER BY p DESC LIMIT 1))
$$;
