"""Tests of workflow definitions: none of them needs a database."""
