"""The chaos story, long (`make chaos`) and short (with every `make test`): seeded, measured, and written down."""

from __future__ import annotations

import json
import os
import random
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord
from django.db import DatabaseError, InterfaceError, connection

from execution import jobs, ledger, runs, workflows
from execution.exceptions import LedgerAway
from execution.models import Errand, Run
from execution.workflows import catalog
from tests.chaos import invariants, skills
from tests.chaos.hand import LEASE, Hand

REPORT = Path(__file__).with_name("report.json")
FAST = {"CELERIAC_LEASE_SECONDS": str(int(LEASE)), "CELERIAC_HEARTBEAT_SECONDS": "1"}


@pytest.fixture
def stage(tmp_path, monkeypatch, settings):
    """Set short leases here and in the workers, and a file for the deeds."""
    deeds = tmp_path / "deeds"
    deeds.touch()
    monkeypatch.setenv(skills.DEEDS, str(deeds))
    settings.CELERIAC = {**settings.CELERIAC, "lease_seconds": int(LEASE), "heartbeat_seconds": 1.0}
    return deeds


@pytest.mark.timeout(240)
def test_chaos_short(workers, stage):
    """Six hundred steps come through a minute of kills, freezes, flushes and a restart with every promise kept."""
    _story(workers, stage, seed=_seed(7), steps=600, seconds=45, restarts=1, patience=120, name="short")


@pytest.mark.chaos
@pytest.mark.timeout(1500)
def test_chaos_long(workers, stage):
    """Ten thousand steps come through ten minutes of kills, freezes, flushes and restarts with every promise kept."""
    _story(workers, stage, seed=_seed(11), steps=10_000, seconds=600, restarts=4, patience=600, name="long")


def _seed(default: int) -> int:
    return int(os.environ.get("CHAOS_SEED", default))


def _story(
    workers: Any, deeds: Path, *, seed: int, steps: int, seconds: float, restarts: int, patience: float, name: str
) -> None:
    hand = Hand(workers=workers, environment={**FAST, skills.DEEDS: str(deeds)}, seed=seed)
    chains: dict[str, int] = {}
    chords: dict[str, list[int]] = {}
    opener = threading.Thread(target=_open, args=(seed, steps, seconds * 0.8, chains, chords))
    opener.start()
    hand.disturb(seconds, restarts=restarts)
    opener.join()
    left = _wait_for_the_end(hand, patience)
    hand.stop()
    taken = invariants.takeovers(hand.kills)
    found = {
        "every run ended": left + invariants.every_run_ended(),
        "every step finished once": invariants.finished_once(),
        "recorded results never changed": invariants.results_are_the_recorded_ones(),
        "recorded results were really produced": invariants.recorded_results_were_done(deeds),
        "effects at most once where they ask": invariants.effects_at_most_once(deeds, seed),
        "no budget passed by a cent": invariants.budgets_held(),
        "no lease without an owner": invariants.no_lease_without_owner(),
        "no event missing between two states": invariants.no_event_missing(),
        "no appended note doubled or lost": invariants.appends_are_whole(),
        "every graph performed as it is written": invariants.graphs_are_whole(),
        "every item of a job recorded once": invariants.jobs_are_whole(),
        "no chain or chord broken off": invariants.canvas_is_whole(chains, chords),
    }
    _write_report(REPORT if name == "long" else deeds.with_name("report.json"), name, seed, steps, hand, taken, found)
    broken = {promise: violations[:10] for promise, violations in found.items() if violations}
    assert not broken, json.dumps(broken, indent=2)


def _open(seed: int, steps: int, seconds: float, chains: dict[str, int], chords: dict[str, list[int]]) -> None:
    """Open the runs in portions over the time, with some chains and chords among them."""
    try:
        _open_all(seed, steps, seconds, chains, chords)
    finally:
        ledger.close()
        connection.close()


def _open_all(seed: int, steps: int, seconds: float, chains: dict[str, int], chords: dict[str, list[int]]) -> None:
    draw = random.Random(seed)
    portion = max(1, steps // 60)
    pause = seconds / (steps / portion)
    graph = _patiently(lambda: catalog.register(workflows.read(skills.GRAPH)))
    for first in range(0, steps, portion):
        _patiently(lambda first=first: runs.start_many(
            skills.work, ({"number": n, "seed": seed} for n in range(first, min(first + portion, steps))),
            keys=(f"chaos-{seed}-{n}" for n in range(first, min(first + portion, steps))), budget=skills.BUDGET,
        ))  # fmt: skip
        if first // portion % 4 == 0:
            _patiently(lambda: runs.start_many(skills.march, ({"paces": 60} for _ in range(2))))
        if first // portion % 2 == 0:
            _patiently(lambda first=first: runs.start(graph, {"number": first}, key=f"chaos-{seed}-{first}"))
        if first // portion % 10 == 0:
            items = ({"number": number} for number in range(skills.ITEMS))
            _patiently(lambda items=items: jobs.spawn(skills.item, items, chunk=25, parallel=3))
        if draw.random() < 0.5:
            result = _patiently(lambda: chain(skills.link.s(0, 1), *(skills.link.s(n) for n in range(2, 6))).delay())
            chains[result.id] = 5
        if draw.random() < 0.3:
            result = _patiently(lambda: chord([skills.part.s(n, n) for n in range(4)])(skills.link.s(99)))
            chords[result.id] = [0, 1, 2, 3]
        time.sleep(pause)


def _patiently(action: Any) -> Any:
    """Do it again while the database is away, as a caller with patience would."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return action()
        except (DatabaseError, InterfaceError, LedgerAway):
            if time.monotonic() > deadline:
                raise
            connection.close()
            time.sleep(0.2)


def _wait_for_the_end(hand: Hand, patience: float) -> list[str]:
    deadline = time.monotonic() + patience
    while Run.objects.exclude(state__in=["completed", "failed", "cancelled"]).exists() or Errand.objects.exists():
        if time.monotonic() > deadline:
            return [f"after {patience:.0f} s of calm some runs have not ended, or something is still owed"]
        hand.heal()
        hand.settle()
        time.sleep(0.3)
    return []


def _write_report(
    path: Path, name: str, seed: int, steps: int, hand: Hand, taken: list[float], found: dict[str, list[str]]
) -> None:
    """Write down what this story found; the long one's report is kept with the tests."""
    report = {
        "story": name,
        "seed": seed,
        "steps": steps,
        "runs": Run.objects.count(),
        "deeds": dict(sorted(hand.deeds.items())),
        "kill_to_next_checkpoint_ms": {
            "count": len(taken),
            "median": round(statistics.median(taken)) if taken else None,
            "p99": round(taken[min(len(taken) - 1, int(len(taken) * 0.99))]) if taken else None,
            "worst": round(taken[-1]) if taken else None,
        },
        "violations": {promise: violations[:20] for promise, violations in found.items()},
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
