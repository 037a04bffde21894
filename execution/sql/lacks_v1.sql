-- Say whether a budget lacks what a claim would reserve. One that has been used up lacks even for a claim that reserves nothing: a run
-- that reaches its budget waits for a person.
CREATE OR REPLACE FUNCTION execution_lacks_v1(p_budget numeric, p_used numeric, p_wanted numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_used + p_wanted > p_budget OR p_used > 0 AND p_used >= p_budget
$$;
