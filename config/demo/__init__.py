"""`make demo`: one run outlives a killed and a frozen worker, on servers of its own that are gone afterwards.

Two demos at once do not meet: each has a home, sockets and a lease of its own, and whatever ends it, Ctrl-C and an
error too, stops all that it started. What it claims at the end is read from the ledger; where that disagrees, it fails.
"""
