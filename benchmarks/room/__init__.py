"""`python -m benchmarks.room`: how fast the room's pages are beside a million runs."""
