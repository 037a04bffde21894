"""The workflows that recovery ships, and the skills that they are made of; importing this registers them."""

from recovery.workflows import incident

__all__ = ["incident"]
