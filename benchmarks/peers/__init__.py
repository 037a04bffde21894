"""One module per peer and figure, run by the Python of `.venv-peers`, each printing one JSON line.

Each peer is given its best honest configuration: everything a careful user of that library would set, and nothing that
gives up what it promises. The choice and its reason stand in the module's docstring.
"""
