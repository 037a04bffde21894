"""Graduation lets an agent earn what it may do alone, and lose it, by evidence."""
