"""Recovery understands what failed, groups it, and puts it right."""
