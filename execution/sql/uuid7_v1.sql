-- A new UUID of version 7: ordered by time, so that rows and partitions follow the clock.
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'CREATE OR REPLACE FUNCTION execution_uuid7_v1() RETURNS uuid LANGUAGE sql VOLATILE AS ''SELECT uuidv7()''';
    ELSE
        EXECUTE $body$
            CREATE OR REPLACE FUNCTION execution_uuid7_v1() RETURNS uuid LANGUAGE sql VOLATILE AS $f$
                SELECT encode(
                    set_bit(set_bit(
                        overlay(uuid_send(gen_random_uuid())
                                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                                FROM 1 FOR 6),
                        52, 1), 53, 1), 'hex')::uuid
            $f$
        $body$;
    END IF;
END $$;
