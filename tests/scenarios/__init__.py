"""Stories told through the public API with real workers."""
