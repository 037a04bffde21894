"""Tests of this repository's own project."""
