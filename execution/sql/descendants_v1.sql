-- Everything that rests on some records, each once, with its distance: the fewest edges to one of them. Exact, and in time proportional to the
-- edges: ids follow the edges, so in their order parents stand before their children and one pass settles every distance.
CREATE OR REPLACE FUNCTION execution_descendants_v1(p_records uuid[]) RETURNS TABLE (record_id uuid, distance int)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
    v_distances int[];
    e record;
BEGIN
    WITH RECURSIVE found AS (
        SELECT r AS id FROM unnest(p_records) r
        UNION
        SELECT p.record_id FROM found f JOIN execution_recordparent p ON p.parent_id = f.id
    ) SELECT array_agg(f.id ORDER BY f.id ASC) INTO v_ids FROM found f;
    SELECT array_agg(CASE WHEN i = ANY (p_records) THEN 0 END ORDER BY n) INTO v_distances
    FROM unnest(v_ids) WITH ORDINALITY x(i, n);
    FOR e IN
        SELECT near.n AS near, far.n AS far
        FROM unnest(v_ids) WITH ORDINALITY near(id, n)
        JOIN execution_recordparent p ON p.parent_id = near.id
        JOIN unnest(v_ids) WITH ORDINALITY far(id, n) ON far.id = p.record_id
        ORDER BY near.n
    LOOP
        v_distances[e.far] := least(v_distances[e.far], v_distances[e.near] + 1);
    END LOOP;
    RETURN QUERY SELECT x.i, x.d FROM unnest(v_ids, v_distances) x(i, d) WHERE x.d > 0 ORDER BY x.d, x.i;
END $$;
