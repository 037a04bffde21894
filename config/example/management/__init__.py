"""The example's command."""
