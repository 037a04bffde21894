"""Graduation's SQL: one object a file, named with its version, headed by what it promises."""
