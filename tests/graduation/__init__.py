"""Tests of the graduation app."""
