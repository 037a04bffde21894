"""`manage.py dead-letters`: a command is named by its file, and a module that others read needs a name of its own."""  # noqa: N999 - the command's name

from recovery.management.commands._dead_letters import Command

__all__ = ["Command"]
