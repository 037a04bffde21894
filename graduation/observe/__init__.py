"""Observe: what the counts of a service say about its objectives."""
