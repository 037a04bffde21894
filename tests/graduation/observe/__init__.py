"""Tests of what graduation observes."""
