"""The command line: doorways to recovery's verbs, one file a command."""
