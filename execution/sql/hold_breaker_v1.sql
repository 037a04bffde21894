-- Lock a breaker before an ending is counted on it; its first failure makes it.
CREATE OR REPLACE FUNCTION execution_hold_breaker_v1(p_breaker text, p_failed boolean, p_threshold int, p_cooldown int)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF p_failed THEN
        INSERT INTO execution_breaker (name, threshold, cooldown_seconds) VALUES (p_breaker, p_threshold, p_cooldown)
        ON CONFLICT (name) DO NOTHING;
    END IF;
    PERFORM 1 FROM execution_breaker x WHERE x.name = p_breaker FOR NO KEY UPDATE;
END $$;
