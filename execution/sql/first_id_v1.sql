-- The least id that can have been made at a moment.
CREATE OR REPLACE FUNCTION execution_first_id_v1(p_moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM p_moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
