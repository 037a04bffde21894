"""What the figures were measured on: processor, memory, operating system, Python, our own packages."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("celery", "django", "kombu", "psycopg", "redis", "orjson", "zstandard")


def describe() -> dict[str, str]:
    """Return the machine in words."""
    return {
        "processor": _first_line(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": _memory(),
        "system": platform.platform(),
        "Python": platform.python_version(),
    }


def load() -> str:
    """Return how many processes wanted a core in the last minute: what else goes on slows a figure down."""
    return f"{os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else ""


def packages() -> dict[str, str]:
    """Return the versions of what our own contender is built on."""
    return {name: found for name in PACKAGES if (found := _version(name))}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _memory() -> str:
    kilobytes = _first_line(Path("/proc/meminfo"), "MemTotal").removesuffix(" kB")
    return f"{int(kilobytes) / 1024**2:.0f} GB" if kilobytes else "unknown"


def _first_line(path: Path, key: str) -> str:
    if not path.exists():
        return ""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")
