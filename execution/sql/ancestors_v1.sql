-- Everything that some records rest on, each once, with its distance: the fewest edges to one of them. Exact, and in time proportional to the
-- edges: ids follow the edges, so in their order children stand before their parents and one pass settles every distance. The planner
-- cannot know the shape of a graph: the edges are looked up by their index, and nothing is joined.
CREATE OR REPLACE FUNCTION execution_ancestors_v1(p_records uuid[]) RETURNS TABLE (record_id uuid, distance int)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_ids uuid[];
    v_distances int[];
    e record;
BEGIN
    FOR e IN
        WITH RECURSIVE found AS (
            SELECT r AS id FROM unnest(p_records) r
            UNION
            SELECT n.id FROM found f, LATERAL (
                SELECT p.parent_id AS id FROM execution_recordparent p WHERE p.record_id = f.id OFFSET 0) n
        ), edges AS MATERIALIZED (
            SELECT f.id AS near, n.id AS far, row_number() OVER () AS e FROM found f, LATERAL (
                SELECT p.parent_id AS id FROM execution_recordparent p WHERE p.record_id = f.id OFFSET 0) n
        ), ends AS (
            SELECT x.e, x.is_near, x.id, dense_rank() OVER (ORDER BY x.id DESC)::int AS n
            FROM (SELECT e, true AS is_near, near AS id FROM edges UNION ALL SELECT e, false, far FROM edges) x
        )
        SELECT max(n) FILTER (WHERE is_near) AS near, (array_agg(id) FILTER (WHERE is_near))[1] AS near_id,
               max(n) FILTER (WHERE NOT is_near) AS far, (array_agg(id) FILTER (WHERE NOT is_near))[1] AS far_id
        FROM ends GROUP BY e ORDER BY near
    LOOP
        IF e.near_id = ANY (p_records) THEN
            v_distances[e.near] := 0;
        END IF;
        v_ids[e.near] := e.near_id;
        v_ids[e.far] := e.far_id;
        v_distances[e.far] := least(v_distances[e.far], v_distances[e.near] + 1);
    END LOOP;
    RETURN QUERY SELECT x.i, x.d FROM unnest(v_ids, v_distances) x(i, d)
        WHERE x.d > 0 AND x.i <> ALL (p_records) ORDER BY x.d, x.i;
END $$;
