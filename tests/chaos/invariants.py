"""What must hold afterwards, whichever way things went: each function returns the violations, in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from execution import jobs, ledger, values
from execution.models import Job, Run
from tests.chaos import skills


def every_run_ended() -> list[str]:
    """Every run ended, and ended well."""
    rows = ledger.ask("SELECT id, state, waiting, error FROM execution_run WHERE state <> 'completed' LIMIT 20")
    return [f"run {row.id} is {row.state} {row.waiting} {row.error}" for row in rows]


def finished_once() -> list[str]:
    """No step has two attempts that completed, and none two `step.completed` events."""
    rows = ledger.ask("""
        SELECT step_id, count(*) AS n FROM execution_attempt WHERE ending = 'completed'
        GROUP BY step_id HAVING count(*) > 1
        UNION ALL
        SELECT step_id, count(*) FROM execution_event WHERE kind = 'step.completed'
        GROUP BY step_id HAVING count(*) > 1""")
    return [f"step {row.step_id} completed {row.n} times" for row in rows]


def _works() -> list[Any]:
    """Return every completed step of the main skill, with its input and output."""
    return ledger.ask("""
        SELECT s.id, s.output, r.input, (
            SELECT jsonb_object_agg(c.token, encode(c.data, 'escape')) FROM execution_checkpoint c
            WHERE c.step_id = s.id AND c.kind = 'once') AS recorded
        FROM execution_step s JOIN execution_run r ON r.id = s.run_id
        WHERE s.skill = 'chaos.work' AND s.state = 'completed'""")


def results_are_the_recorded_ones() -> list[str]:
    """What each run returned is what its checkpoints hold: no later attempt changed a recorded result."""
    wrong = []
    for row in _works():
        output = ledger.unpack(row.output)
        for token, text in (row.recorded or {}).items():
            value = values.decode(text[1:].encode())
            if output.get(token) != value:
                wrong.append(f"step {row.id} returned {output.get(token)!r} for {token}, the ledger holds {value!r}")
    return wrong


def recorded_results_were_done(deeds: Path) -> list[str]:
    """Every recorded result was really produced, and is one of those produced for its key."""
    done = _deeds(deeds)["once"]
    wrong = []
    for row in _works():
        number = ledger.unpack(row.input)["kwargs"]["number"]
        for token, mark in ledger.unpack(row.output).items():
            if token.startswith("once-") and mark not in done[f"{number}/{token.rpartition('-')[2]}"]:
                wrong.append(f"step {row.id} holds {mark} for {token}, which nobody produced")
    return wrong


def effects_at_most_once(deeds: Path, seed: int) -> list[str]:
    """An effect whose policy is `ask` was done at most once."""
    wrong = []
    for key, marks in _deeds(deeds)["effect"].items():
        number, place = (int(part) for part in key.split("/"))
        if skills.script(number, seed)[place] == "effect-ask" and len(marks) > 1:
            wrong.append(f"the effect {key} was done {len(marks)} times")
    return wrong


def budgets_held() -> list[str]:
    """No budget was passed, nothing is reserved any more, and what is booked is what was charged, to the cent."""
    rows = ledger.ask("""
        SELECT r.id, r.budget_cost, r.spent_cost, r.reserved_cost, coalesce(c.cost, 0) AS charged
        FROM execution_run r LEFT JOIN LATERAL (
            SELECT sum(x.cost) AS cost FROM execution_checkpoint x JOIN execution_step s ON s.id = x.step_id
            WHERE s.run_id = r.id) c ON true
        WHERE r.spent_cost > r.budget_cost OR r.reserved_cost <> 0
           OR r.spent_cost <> coalesce(c.cost, 0) AND NOT starts_with(r.workflow, 'job:')""")
    return [
        f"run {r.id}: budget {r.budget_cost}, spent {r.spent_cost}, reserved {r.reserved_cost}, charged {r.charged}"
        for r in rows
    ]


def no_lease_without_owner() -> list[str]:
    """Nothing runs, and nothing holds a lease or a worker."""
    rows = ledger.ask("""
        SELECT id, state FROM execution_step
        WHERE state = 'running' OR lease_until IS NOT NULL OR worker_id IS NOT NULL""")
    open_attempts = ledger.ask("SELECT id, step_id FROM execution_attempt WHERE ending = ''")
    return [f"step {row.id} is {row.state} and holds a lease" for row in rows] + [
        f"attempt {row.id} of {row.step_id} never ended" for row in open_attempts
    ]


def no_event_missing() -> list[str]:
    """Each attempt has its start and its end in the log, each run its opening and its end."""
    attempts = ledger.ask("""
        SELECT * FROM (
            SELECT a.step_id, a.epoch, count(*) FILTER (WHERE e.kind = 'step.started') AS starts,
                count(*) FILTER (WHERE e.kind IN (
                    'step.completed', 'step.skipped', 'step.suspended', 'step.failed', 'step.retrying', 'step.parked',
                    'step.cancelled', 'step.given_back')) AS ends
            FROM execution_attempt a
            LEFT JOIN execution_event e ON e.step_id = a.step_id AND e.epoch = a.epoch
            GROUP BY a.step_id, a.epoch) counted
        WHERE starts <> 1 OR ends <> 1""")
    ended = ledger.ask("""
        SELECT r.id FROM execution_run r
        WHERE (SELECT count(*) FROM execution_event e WHERE e.run_id = r.id AND e.kind = 'run.opened') <> 1
           OR (SELECT count(*) FROM execution_event e WHERE e.run_id = r.id AND e.kind = 'run.' || r.state) <> 1""")
    return [
        f"attempt {a.epoch} of {a.step_id} has {a.starts} starts and {a.ends} ends in the log" for a in attempts
    ] + [f"run {row.id} lacks its opening or its end in the log" for row in ended]


def appends_are_whole() -> list[str]:
    """No appended note was doubled or lost."""
    wrong = []
    for row in _works():
        given = ledger.unpack(row.input)["kwargs"]
        places = [place for place, verb in enumerate(skills.script(given["number"], given["seed"])) if verb == "append"]
        expected = [f"{place}{letter}" for place in places for letter in "abc"]
        if ledger.unpack(row.output)["letters"] != expected:
            wrong.append(f"step {row.id} appended {ledger.unpack(row.output)['letters']}, not {expected}")
    return wrong


def graphs_are_whole() -> list[str]:
    """Each graph returned its entries in order and their sum, skipped what it should, and kept to its order."""
    wrong = []
    for run in Run.objects.filter(workflow="chaos-graph", state="completed"):
        number = ledger.unpack(run.input)["kwargs"]["number"]
        entries = [number + index for index in range(3 + number % 6)]
        expected = {"entries": entries, "sum": sum(entries), "never": "skipped"}
        if run.result() != expected:
            wrong.append(f"graph {run.id} returned {run.result()}, not {expected}")
    early = ledger.ask("""
        SELECT s.id, s.name FROM execution_need n JOIN execution_step s ON s.id = n.step_id
        JOIN execution_step d ON d.id = n.needed_id
        WHERE s.ended_at < d.ended_at OR s.state = 'completed' AND d.ended_at IS NULL""")
    return wrong + [f"step {row.name} {row.id} ended before what it needs" for row in early]


def jobs_are_whole() -> list[str]:
    """Each item of each job has its result once, and was paid for."""
    wrong = []
    for job in Job.objects.all():
        found = list(jobs.results(job))
        if [one.output for one in found] != list(range(skills.ITEMS)):
            wrong.append(f"job {job.pk} has the results {[one.output for one in found]}")
        wrong += [f"item {one.position} of job {job.pk} cost {one.cost}" for one in found if one.cost < skills.PRICE]
    return wrong


def canvas_is_whole(chains: dict[str, int], chords: dict[str, list[int]]) -> list[str]:
    """No chain broke off, and each chord's body ran once with all its parts."""
    wrong = []
    completed = {
        str(pk) for pk in Run.objects.filter(workflow="chaos.link", state="completed").values_list("pk", flat=True)
    }
    wrong += [f"the chain to {last} broke off" for last in chains if last not in completed]
    wrong += [f"the chord's body {body} did not run" for body in chords if body not in completed]
    return wrong


def takeovers(kills: list[Any]) -> list[float]:
    """Return the milliseconds from each kill to the next checkpoint of each step that was being performed."""
    found = []
    for kill in kills:
        for step_id, epoch in kill.steps.items():
            rows = ledger.ask(
                "SELECT extract(epoch FROM min(c.saved_at)) AS saved FROM execution_checkpoint c "
                "JOIN execution_attempt a ON a.step_id = c.step_id AND a.epoch = %s AND a.ending = 'lost' "
                "WHERE c.step_id = %s AND c.epoch > %s AND c.saved_at > to_timestamp(%s)",
                [epoch, step_id, epoch, kill.at],
            )
            if rows and rows[0].saved is not None:
                found.append((float(rows[0].saved) - kill.at) * 1000)
    return sorted(found)


def _deeds(path: Path) -> dict[str, dict[str, Counter[str]]]:
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for line in path.read_text().splitlines():
        kind, key, mark = line.split("\t")
        found[kind][key][mark] += 1
    return found
