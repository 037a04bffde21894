-- The log: append only, partitioned by ranges of the UUIDv7 id, read gap-safe by (xid, id).
CREATE TABLE execution_event (
    id uuid NOT NULL PRIMARY KEY,
    xid bigint NOT NULL,
    at timestamptz NOT NULL,
    kind varchar(64) NOT NULL,
    run_id uuid,
    step_id uuid,
    agent_id uuid,
    epoch integer,
    data jsonb NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX events_by_cursor ON execution_event (xid, id);
CREATE INDEX events_of_a_run ON execution_event (run_id, id) WHERE run_id IS NOT NULL;
CREATE TABLE execution_event_default PARTITION OF execution_event DEFAULT;
