"""The command line: doorways to the verbs of `runs`, one file a command; docs/runs.md shows them."""
