-- Everything that some records rest on ('ancestors'), or that rests on them ('descendants'), each once, with its distance: the fewest edges to
-- one of them. Exact, and in time proportional to the edges: ids follow the edges, so in their order what is near stands before what is far and
-- one pass settles every distance. The planner cannot know the shape of a graph: the edges are looked up by their index, and nothing is joined.
CREATE OR REPLACE FUNCTION execution_relatives_v1(p_records uuid[], p_side text) RETURNS TABLE (record_id uuid, distance int)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    v_way text[] := CASE p_side WHEN 'ancestors' THEN '{record_id,parent_id,DESC}' WHEN 'descendants' THEN '{parent_id,record_id,ASC}' END;
    v_ids uuid[];
    v_distances int[];
    e record;
BEGIN
    FOR e IN EXECUTE format($q$
        WITH RECURSIVE found AS (
            SELECT r AS id FROM unnest($1) r
            UNION
            SELECT n.id FROM found f, LATERAL (
                SELECT p.%2$I AS id FROM execution_recordparent p WHERE p.%1$I = f.id OFFSET 0) n
        ), edges AS MATERIALIZED (
            SELECT f.id AS near, n.id AS far, row_number() OVER () AS e FROM found f, LATERAL (
                SELECT p.%2$I AS id FROM execution_recordparent p WHERE p.%1$I = f.id OFFSET 0) n
        ), ends AS (
            SELECT x.e, x.is_near, x.id, dense_rank() OVER (ORDER BY x.id %3$s)::int AS n
            FROM (SELECT e, true AS is_near, near AS id FROM edges UNION ALL SELECT e, false, far FROM edges) x
        )
        SELECT max(n) FILTER (WHERE is_near) AS near, (array_agg(id) FILTER (WHERE is_near))[1] AS near_id,
               max(n) FILTER (WHERE NOT is_near) AS far, (array_agg(id) FILTER (WHERE NOT is_near))[1] AS far_id
        FROM ends GROUP BY e ORDER BY near $q$, VARIADIC v_way) USING p_records
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
