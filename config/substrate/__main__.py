"""`python -m config.substrate start|stop|status`: the embedded servers by hand."""

import argparse
import sys

from config.substrate import SubstrateError, ensure, status, stop


def main() -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m config.substrate", description=__doc__)
    parser.add_argument("verb", choices=["start", "stop", "status"])
    verb = parser.parse_args().verb
    try:
        return {"start": _start, "stop": _stop, "status": _status}[verb]()
    except SubstrateError as error:
        print(error, file=sys.stderr)
        return 1


def _start() -> int:
    ensure()
    return _status()


def _stop() -> int:
    names = stop()
    print(f"Stopped {' and '.join(names)}." if names else "No embedded server was running.")
    return 0


def _status() -> int:
    for server in status():
        if not server.is_embedded:
            state = "external"
        elif server.is_running:
            state = f"running (process {server.pid}, {server.version})"
        else:
            state = "stopped"
        print(f"{server.name:<11} {state:<50} {server.where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
