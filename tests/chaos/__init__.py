"""Chaos: a seeded hand kills, freezes, flushes and restarts while thousands of steps are performed."""
