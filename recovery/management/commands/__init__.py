"""The command line of recovery: doorways to its verbs, one file a command."""
