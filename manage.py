#!/usr/bin/env python
"""Django's commands, with the embedded servers started first for those that need them."""

import os
import sys

# `doctor` looks before it starts anything; a definition is a file.
WITHOUT_SERVERS = frozenset({"help", "version", "check", "collectstatic", "doctor"}).union(
    f"workflow {verb}" for verb in ("validate", "graph", "schema", "new", "diff")
)
ONLY_HELP = frozenset({"--help", "-h", "--version"})


def needs_servers(arguments: list[str]) -> bool:
    """Tell whether this command will talk to the servers."""
    names = {" ".join(arguments[:1]), " ".join(arguments[:2])}
    if names & {"workflow diff"} and not ONLY_HELP.intersection(arguments):
        return not any(word.endswith((".yaml", ".yml")) for word in arguments[2:])
    return bool(arguments) and not WITHOUT_SERVERS & names and not ONLY_HELP.intersection(arguments)


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    from config import substrate

    try:
        if needs_servers(sys.argv[1:]):
            substrate.ensure()
    except substrate.SubstrateError as error:
        sys.exit(f"celeriac: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
