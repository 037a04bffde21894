"""The tests of recovery."""
