"""`make up`: servers, workers, beat, web and Flower under one process manager, until Ctrl-C.

Everything listens on the loopback address alone. WEB_PORT and FLOWER_PORT choose the ports, WORKER_QUEUES what the
main worker consumes. The first start makes the user `operator` and shows the password once.
"""

import os
import secrets
import shlex
import socket
import sys
from pathlib import Path

from config import substrate
from config.substrate.addresses import REPOSITORY, Addresses

LOOPBACK = "127.0.0.1"
OPERATOR = "operator"
# Time for a warm shutdown: what runs ends or suspends at its next context call, the rest is given back.
GRACE_SECONDS = 60
# What performs no steps has nothing to bring to an end.
QUICK_SECONDS = 8


def main() -> int:
    """Run everything until the first signal, then stop everything."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.chdir(REPOSITORY)
    web, flower = port("WEB_PORT", 8000), port("FLOWER_PORT", 5555)
    try:
        _refuse_taken(web, flower)
        addresses = substrate.ensure()
        password = prepare()
        _announce(addresses, web=web, flower=flower, password=password)
        return _manage(_processes(web=web, flower=flower), _flower_environment(addresses, flower))
    except (substrate.SubstrateError, ValueError, OSError) as error:
        print(f"celeriac: {error}", file=sys.stderr)
        return 1
    finally:
        names = substrate.stop()
        print(f"Stopped {' and '.join(names)}." if names else "No embedded server was running.", flush=True)


def port(name: str, default: int) -> int:
    """Return the port that a variable names."""
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or not 0 < int(value) < 2**16:
        raise ValueError(f"{name} is {value!r}; give a port number from 1 to 65535.")
    return int(value)


def prepare() -> str | None:
    """Migrate, and return the operator's password if the operator had to be made."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    users = get_user_model()._default_manager  # noqa: SLF001 - Django's documented name
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(OPERATOR, email="", password=password)
    return password


def _refuse_taken(*ports: int) -> None:
    names = dict(zip(ports, ("WEB_PORT", "FLOWER_PORT"), strict=True))
    for number, name in names.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, number))
            except OSError as error:
                raise OSError(f"Port {number} is taken ({error}); set {name} to another one.") from error


def _processes(*, web: int, flower: int) -> dict[str, list[str]]:
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    queues = os.environ.get("WORKER_QUEUES") or "default"
    return {
        "worker": [*celery, "worker", "-E", "-n", "worker@%h", "-Q", queues, "-l", "INFO"],
        "evaluators": [*celery, "worker", "-E", "-n", "celeriac@%h", "-Q", "celeriac", "-c", "2", "-l", "INFO"],
        "beat": [*celery, "beat", "-l", "INFO", "--pidfile="],
        "web": [
            *(
                sys.executable,
                "-m",
                "gunicorn",
                "config.wsgi",
                "--threads",
                "4",
                "--access-logfile",
                "-",
                "--no-control-socket",
            ),
            *("--bind", f"{LOOPBACK}:{web}"),
        ],
        "flower": [*celery, "flower", f"--address={LOOPBACK}", f"--port={flower}", "--url_prefix=flower"],
    }


def _manage(processes: dict[str, list[str]], flower: dict[str, str]) -> int:
    from honcho import manager as honcho

    honcho.KILL_WAIT = GRACE_SECONDS
    manager = honcho.Manager()
    environment = os.environ | flower | {"PYTHONUNBUFFERED": "1"}
    keep = [sys.executable, str(Path(__file__).with_name("keep.py"))]
    grace = dict.fromkeys(("worker", "evaluators"), GRACE_SECONDS - 5)
    for name, command in processes.items():
        manager.add_process(
            name,
            f"exec {shlex.join([*keep, str(grace.get(name, QUICK_SECONDS)), *command])}",
            env=environment,
            cwd=str(REPOSITORY),
        )
    manager.loop()
    stopped_by_hand = {130, 143}
    return 0 if manager.returncode in stopped_by_hand else int(manager.returncode or 0)


def _flower_environment(addresses: Addresses, port: int) -> dict[str, str]:
    """Return Flower's own login, and by what the web finds Flower and opens it."""
    from config.secret import kept_secret

    account = f"{OPERATOR}:{kept_secret(addresses.home / 'flower_password')}"
    return {
        "FLOWER_BASIC_AUTH": account,
        "CELERIAC_FLOWER_ACCOUNT": account,
        "CELERIAC_FLOWER_URL": f"http://{LOOPBACK}:{port}",
    }


def _announce(addresses: Addresses, *, web: int, flower: int, password: str | None) -> None:
    database = addresses.database
    print(f"Admin       http://{LOOPBACK}:{web}/admin/")
    if password:
        print(
            f"            user {OPERATOR}, password {password} (shown this once; `manage.py changepassword {OPERATOR}`)"
        )
    print(f"Flower      http://{LOOPBACK}:{web}/flower/ (the admin's login)")
    print(f"            and http://{LOOPBACK}:{flower}/flower/ for user {OPERATOR},")
    print(f"            password in {addresses.home / 'flower_password'}")
    print(f"PostgreSQL  {database['HOST'] or 'localhost'} {database['NAME']}")
    print(f"Redis       {addresses.redis_url.rpartition('@')[2]}")
    print("Ctrl-C stops everything.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
