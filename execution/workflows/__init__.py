"""Workflows: named, versioned graphs of steps, and the library of them that is shipped."""
