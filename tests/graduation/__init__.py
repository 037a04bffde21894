"""Tests of graduation."""
