-- A new UUID of version 7: ordered by time, so that rows and partitions follow the clock, and to the microsecond, so that the
-- events of one transaction follow each other.
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'CREATE OR REPLACE FUNCTION execution_uuid7_v1() RETURNS uuid LANGUAGE sql VOLATILE AS ''SELECT uuidv7()''';
    ELSE
        EXECUTE $body$
            CREATE OR REPLACE FUNCTION execution_uuid7_v1() RETURNS uuid LANGUAGE sql VOLATILE AS $f$
                SELECT encode(
                    substring(int8send(t.us / 1000) FROM 3) || substring(int4send(28672 + (t.us % 1000 * 4096 / 1000)::int) FROM 3)
                    || substring(uuid_send(gen_random_uuid()) FROM 9), 'hex')::uuid
                FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) t
            $f$
        $body$;
    END IF;
END $$;
