"""A verb that retries, where this process knows none yet."""

from __future__ import annotations

from execution import runs
from recovery import actions
from recovery.actions import Done

if "retry" not in actions.KNOWN:

    @actions.verb("retry")
    def retry(target, *, by, reason, **_):
        """Let a failed run go on from its failed step."""
        runs.retry(target.run_id, by=by, reason=reason)
        return Done(text=f"run {target.run_id} goes on")
