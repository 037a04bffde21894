"""The floor: one prepared single-row INSERT of 1 KB per commit, psycopg 3, one connection in autocommit."""

import time

import psycopg

from benchmarks import command

KILOBYTE = "x" * 1024


def measure(load: command.Load) -> command.Measured:
    with psycopg.connect(load.database, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("CREATE TABLE step (id bigint PRIMARY KEY, result text NOT NULL)")
        insert = "INSERT INTO step (id, result) VALUES (%s, %s)"
        for number in range(-50, 0):
            connection.execute(insert, (number, KILOBYTE), prepare=True)
        began = time.perf_counter()
        for number in range(load.count):
            connection.execute(insert, (number, KILOBYTE), prepare=True)
        return command.Measured.rate(load.count, time.perf_counter() - began, packages=["psycopg"])


if __name__ == "__main__":
    command.main(measure)
