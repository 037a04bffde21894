"""The command line of graduation: doorways to its verbs, one file a command."""
