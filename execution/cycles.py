"""Cycles: periodic work that restores its state, does one bounded pass, and stores its state in the same transaction.

Each tick is claimed once in the database, so two beats do no harm, and a tick that was missed is not made up for in a
burst. An error is logged, counted and shown; it never gets out.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F

from execution import ledger
from execution.models import CycleState

log = structlog.get_logger(__name__)

Pass = Callable[[dict[str, Any]], int]
"""One bounded pass: takes the state, which it may change, and returns how many things it touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One kind of periodic work."""

    name: str
    period: timedelta
    step: Pass
    is_atomic: bool = True

    def run(self) -> int | None:
        """Do one tick if it is due; returns what it touched, or None when it was not ours or failed."""
        row = ledger.ask("SELECT * FROM execution_tick_v1(%s, %s)", [self.name, self.period * 0.9])[0]
        if not row.is_mine:
            return None
        try:
            return self._pass()
        except Exception as error:
            log.exception("cycle.failed", cycle=self.name)
            CycleState.objects.filter(pk=self.name).update(
                error_count=F("error_count") + 1, last_error="".join(traceback.format_exception(error))[-4000:]
            )
            return None

    def _pass(self) -> int:
        if not self.is_atomic:
            state = CycleState.objects.values_list("state", flat=True).get(pk=self.name)
            touched = self.step(state)
            return self._store(state, touched)
        with transaction.atomic():
            state = CycleState.objects.select_for_update().get(pk=self.name).state
            return self._store(state, self.step(state))

    def _store(self, state: dict[str, Any], touched: int) -> int:
        CycleState.objects.filter(pk=self.name).update(
            state=state, touched_count=F("touched_count") + touched, last_error=""
        )
        return touched
