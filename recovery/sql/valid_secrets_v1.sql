-- Return the signing secrets that are valid at a moment, the newest first.
CREATE OR REPLACE FUNCTION recovery_valid_secrets_v1(p_secrets jsonb, p_now timestamptz DEFAULT clock_timestamp())
RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(s.value ->> 'secret' ORDER BY s.ordinality), '{}')
    FROM jsonb_array_elements(p_secrets) WITH ORDINALITY s
    WHERE s.value ->> 'until' IS NULL OR (s.value ->> 'until')::timestamptz > p_now
$$;
