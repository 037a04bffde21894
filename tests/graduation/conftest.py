"""No test remembers anything, and each may perform steps with its own hands."""

from tests.execution.conftest import _nothing_connected, _nothing_remembered, hands

__all__ = ["_nothing_connected", "_nothing_remembered", "hands"]
