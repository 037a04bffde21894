"""The embedded PostgreSQL: one cluster in the home, a socket in a private folder, and settings that lose nothing.

The cluster is made aside and renamed into place, so that a killed `initdb` leaves nothing half made. The settings are
written anew at each start; what an operator sets with ALTER SYSTEM wins over them.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from config.substrate import privileges, processes, waiting
from config.substrate.addresses import DATABASE, POSTGRES_PORT, Addresses
from config.substrate.binaries import PostgresBinaries, find_postgres
from config.substrate.errors import SubstrateError, with_log
from config.substrate.folders import make_server_folder
from config.substrate.privileges import Account
from config.substrate.processes import Identity

RECOVERY_SECONDS = 24 * 3600
ORPHANS_SECONDS = 60

SETTINGS = """\
# Written by Celeriac at each start. To change a setting, use ALTER SYSTEM: it wins over this file.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = '256MB'
work_mem = '16MB'
maintenance_work_mem = '128MB'
# Nothing that was committed may be lost.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = on
max_wal_size = '4GB'
checkpoint_timeout = '15min'
checkpoint_completion_target = 0.9
# Queue tables churn: vacuum them early and without long pauses.
autovacuum_naptime = '10s'
autovacuum_vacuum_scale_factor = 0.02
autovacuum_vacuum_insert_scale_factor = 0.05
autovacuum_analyze_scale_factor = 0.02
autovacuum_vacuum_cost_delay = '1ms'
# A client that was killed while its backend waits must let go of its locks.
client_connection_check_interval = '2s'
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_lock_waits = on
log_checkpoints = off
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The PostgreSQL of one home."""

    addresses: Addresses
    name: ClassVar[str] = "PostgreSQL"

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.addresses.home / "postgres"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.addresses.home / "logs" / "postgres.log"

    @property
    def record(self) -> Path:
        """Where the identity of the running server is kept."""
        return self.addresses.home / "postgres.process"

    @property
    def mark(self) -> str:
        """What the server's command line must name."""
        return f"-D {self.data}"

    @property
    def is_embedded(self) -> bool:
        """Whether this server is ours to start."""
        return self.addresses.embeds_postgres

    @property
    def socket_folder(self) -> Path:
        """The folder of its socket."""
        return self.addresses.postgres_socket_folder

    @property
    def where(self) -> str:
        """The address, for people."""
        database = self.addresses.database
        return f"{database['HOST'] or 'localhost'} {database['NAME']}"

    def identity(self) -> Identity | None:
        """Return the running server, or none."""
        return processes.identify(processes.pid_in(self.data / "postmaster.pid"), mark=self.mark)

    def is_ready(self) -> bool:
        """Tell whether the server says that it accepts connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return bool(lines) and lines[-1].strip() == "ready"

    def start(self, account: Account) -> None:
        """Start the server on its cluster, which is made first if need be; return when it accepts connections."""
        if not self.identity():
            binaries = find_postgres()
            self._make_cluster(binaries, account)
            self._configure(account)
            self._launch(binaries, account)
        waiting.until(
            lambda: self.is_ready() or not self.identity(),
            what="PostgreSQL is recovering",
            log=self.log,
            timeout_seconds=RECOVERY_SECONDS,
        )
        if not self.is_ready():
            raise with_log("PostgreSQL did not become ready.", self.log, "Look into the log, then start again.")
        self._create_database()

    def stop_signal(self) -> signal.Signals:
        """Return the signal that ends sessions, writes a checkpoint and exits."""
        return signal.SIGINT

    def version(self) -> str:
        """Ask the server for its version; nothing is said by one that dies meanwhile."""
        try:
            with psycopg.connect(self._conninfo(DATABASE), connect_timeout=5) as connection:
                return f"PostgreSQL {connection.info.parameter_status('server_version')}"
        except psycopg.OperationalError:
            return ""

    def _make_cluster(self, binaries: PostgresBinaries, account: Account) -> None:
        if (self.data / "PG_VERSION").exists():
            self._check_version(binaries)
            return
        if self.data.exists() and any(self.data.iterdir()):
            message = f"{self.data} holds no PostgreSQL cluster, but it is not empty. Move it away and start again."
            raise SubstrateError(message)
        nursery = self.data.with_name("postgres.new")
        shutil.rmtree(nursery, ignore_errors=True)
        make_server_folder(nursery, account)
        cluster = nursery / "cluster"
        self._run([binaries.path("initdb"), "-D", str(cluster), *_initdb_options(binaries.major)], account)
        with (cluster / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude 'celeriac.conf'\n")
        cluster.replace(self.data)
        nursery.rmdir()

    def _check_version(self, binaries: PostgresBinaries) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(binaries.major):
            message = (
                f"{self.data} was made by PostgreSQL {found}, and the binaries in {binaries.folder} are version"
                f" {binaries.major}. Dump it with the old version and restore it with the new one (pg_dump,"
                f" pg_restore), put the old binaries back, or move the folder away to begin anew."
            )
            raise SubstrateError(message)

    def _configure(self, account: Account) -> None:
        user = privileges.current_user()
        files = {
            "celeriac.conf": SETTINGS.format(port=POSTGRES_PORT, sockets=self.socket_folder),
            "pg_hba.conf": "# Only the owner of this home, and only by its socket.\nlocal all all peer map=celeriac\n",
            "pg_ident.conf": f'celeriac "{user}" {DATABASE}\n',
        }
        for name, text in files.items():
            path = self.data / name
            path.write_text(text)
            path.chmod(0o600)
            account.own(path)

    def _launch(self, binaries: PostgresBinaries, account: Account) -> None:
        self._clear_stale_locks()
        if not self._pg_ctl_start(binaries, account):
            advice = f"Mend what the log names and start again. Its data folder is {self.data}."
            raise with_log("PostgreSQL did not start.", self.log, advice)

    def _clear_stale_locks(self) -> None:
        """Remove the lock files of a postmaster that is gone, once nobody works in its data folder any more.

        PostgreSQL itself would refuse to start while the number in them is a stranger's or a zombie's. The
        backends of a killed postmaster need a moment to end; every one of them has the data folder as its own.
        """
        ended = waiting.until(
            lambda: not processes.working_in(self.data),
            what="The killed PostgreSQL is still ending",
            log=self.log,
            timeout_seconds=ORPHANS_SECONDS,
        )
        if not ended:
            pids = ", ".join(map(str, processes.working_in(self.data)))
            advice = f"Processes {pids} still work in {self.data}; end them and start again."
            raise with_log("PostgreSQL did not start.", self.log, advice)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (self.socket_folder / f".s.PGSQL.{POSTGRES_PORT}.lock").unlink(missing_ok=True)

    def _pg_ctl_start(self, binaries: PostgresBinaries, account: Account) -> bool:
        """Start the postmaster and return whether it lives; pg_ctl waits no longer than its pid file takes."""
        command = [binaries.path("pg_ctl"), "start", "-s", "-w", "-t", str(RECOVERY_SECONDS)]
        command += ["-D", str(self.data), "-l", str(self.log)]
        with subprocess.Popen(
            [*account.prefix, *command],
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            waiting.until(
                lambda: process.poll() is not None,
                what="PostgreSQL is recovering",
                log=self.log,
                timeout_seconds=RECOVERY_SECONDS,
            )
        return process.returncode == 0

    def _run(self, command: list[str], account: Account) -> None:
        done = subprocess.run(
            [*account.prefix, *command], cwd="/", env=_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            message = f"`{' '.join(command)}` failed with status {done.returncode}:\n{done.stdout}{done.stderr}"
            raise SubstrateError(message)

    def _create_database(self) -> None:
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if not exists:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _conninfo(self, database: str) -> str:
        return f"host='{self.socket_folder}' port={POSTGRES_PORT} user={DATABASE} dbname={database}"


def _initdb_options(major: int) -> list[str]:
    builtin_locale = 17
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= builtin_locale else []
    return ["-U", DATABASE, "-A", "peer", "-E", "UTF8", "--locale=C", *locale, "--data-checksums"]


def _environment() -> dict[str, str]:
    """Leave out PGDATA, PGPORT and their like: they would turn the server to another cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
