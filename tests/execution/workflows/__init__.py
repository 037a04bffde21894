"""Workflows: definitions, graphs, and the shipped library."""
