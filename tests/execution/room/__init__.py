"""The operator's room."""
