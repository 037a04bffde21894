-- Recall what an agent remembers: by the words of a query, most relevant and most recent first; without words, most recent first.
-- A memory loses half its weight in each half-life; a pinned one loses none. What is recalled is noted, where nobody holds it.
CREATE OR REPLACE FUNCTION execution_recall_v1(p_agent uuid, p_query text, p_kinds text[], p_limit int, p_half_life interval)
RETURNS TABLE (id uuid, kind text, key text, value bytea, score float8, updated_at timestamptz) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_words tsquery := replace(plainto_tsquery('english', p_query)::text, '&', '|')::tsquery;
    v_found uuid[];
    v_scores float8[];
BEGIN
    IF numnode(v_words) = 0 THEN
        SELECT array_agg(f.id), array_agg(f.weight) INTO v_found, v_scores FROM (
            SELECT m.id, CASE WHEN m.is_pinned THEN 1 ELSE power(0.5::float8, least(
                       extract(epoch FROM v_now - m.updated_at) / extract(epoch FROM p_half_life), 60)::float8) END AS weight
            FROM execution_memory m
            WHERE m.agent_id = p_agent AND (p_kinds IS NULL OR m.kind = ANY (p_kinds))
              AND (m.is_pinned OR m.expires_at IS NULL OR m.expires_at > v_now)
            ORDER BY weight DESC, m.updated_at DESC LIMIT p_limit) f;
    ELSE
        SELECT array_agg(f.id), array_agg(f.weight) INTO v_found, v_scores FROM (
            SELECT m.id, ts_rank_cd(m.search, v_words) * CASE WHEN m.is_pinned THEN 1 ELSE power(0.5::float8, least(
                       extract(epoch FROM v_now - m.updated_at) / extract(epoch FROM p_half_life), 60)::float8) END AS weight
            FROM execution_memory m
            WHERE m.search @@ v_words AND m.agent_id = p_agent AND (p_kinds IS NULL OR m.kind = ANY (p_kinds))
              AND (m.is_pinned OR m.expires_at IS NULL OR m.expires_at > v_now)
            ORDER BY weight DESC, m.updated_at DESC LIMIT p_limit) f;
    END IF;
    UPDATE execution_memory m SET recalled_at = v_now, recall_count = m.recall_count + 1
    WHERE m.id IN (SELECT x.id FROM execution_memory x WHERE x.id = ANY (v_found) FOR NO KEY UPDATE SKIP LOCKED);
    RETURN QUERY
        SELECT m.id, m.kind::text, m.key::text, m.value, f.score, m.updated_at
        FROM unnest(v_found, v_scores) WITH ORDINALITY AS f(id, score, n) JOIN execution_memory m ON m.id = f.id ORDER BY f.n;
END $$;
