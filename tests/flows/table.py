"""The flows: what reads or writes which substrate, what it promises, and the fault that must not break the promise."""

from __future__ import annotations

from dataclasses import dataclass

STORIES = "tests/flows/test_flows.py"
LIVENESS = "tests/scenarios/test_liveness.py"
EVALUATOR = "tests/graduation/test_evaluator.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another reader or writer of a flow's substrate, and the test that proves it; without one it was only read."""

    code: str
    does: str
    test: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One row: nothing is proven of it but by its story, and by the tests it names besides."""

    number: int
    substrate: str
    who: str
    promise: str
    code: str = ""
    fault: str = ""
    tests: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def is_built(self) -> bool:
        """Whether there is anything to prove."""
        return bool(self.code)

    @property
    def story(self) -> str:
        """The test that injects the fault."""
        return f"{STORIES}::test_flow[{self.number}]"


FLOWS = (
    Flow(
        number=1,
        substrate="table runs",
        who="dispatch: ready work",
        promise="a committed run is picked up although its message was lost",
        code="execution/doorbell.py, sql/feed_v1.sql",
        fault="the broker is flushed between the commit and the worker's start",
        neighbours=(
            Neighbour(code="runs.start, start_many", does="opens; an idempotency key opens once"),
            Neighbour(code="runs.pause, resume, cancel, retry, fork", does="changes the state under the run's lock"),
            Neighbour(code="sql/expire_v1.sql", does="fails a run at its deadline, once"),
            Neighbour(code="retention.clean_up", does="forgets the keys of runs that ended long ago"),
            Neighbour(code="manage.py runs, run, watch, why; admin", does="reads"),
        ),
    ),
    Flow(
        number=2,
        substrate="table runs",
        who="performing: state reads and writes",
        promise="killed between any two statements, the run resumes and ends once",
        code="execution/performing.py, execution/ledger.py, sql/claim_v1.sql, sql/record_v1.sql, sql/finish_v1.sql",
        fault="kill -9 of the performing process before its k-th statement, for every k",
        neighbours=(
            Neighbour(
                code="keeping.py", does="gives back what a dead process performed", test=f"{STORIES}::test_flow[35]"
            ),
            Neighbour(code="upkeep.sweep", does="gives back what nobody keeps", test=f"{STORIES}::test_flow[33]"),
        ),
    ),
    Flow(
        number=3,
        substrate="table agents",
        who="performing: budget, capabilities, level",
        promise="changed in mid-run: the next claim sees it; no claim slips past",
        code="execution/agents.py, sql/claim_v1.sql",
        fault="lockout, level and budget change while a run sleeps, and a lockout races twenty claims",
        neighbours=(
            Neighbour(
                code="agents.lift; sql/fold_v1.sql", does="lets waiting steps go on", test=f"{STORIES}::test_flow[3]"
            ),
            Neighbour(code="sql/settle_v1.sql, sql/charge_v1.sql", does="books what was spent"),
            Neighbour(code="admin", does="reads; an operator edits level and budget"),
        ),
    ),
    Flow(
        number=4,
        substrate="table memory",
        who="performing: retrieval for planning",
        promise="an empty or slow memory never fails a step",
        code="execution/memory.py, execution/context.py, sql/recall_v1.sql, sql/remember_v1.sql, sql/owe_memory_v1.sql",
        fault="an empty table; the table locked by somebody for good; the table gone; kill -9 between recall and end",
        neighbours=(
            Neighbour(
                code="memory_rules.apply_all",
                does="keeps what was owed, once",
                test=f"{STORIES}::test_flow[4]",
            ),
            Neighbour(
                code="memory_rules: rules of ended runs",
                does="each on its own, once for a run, never failing it",
                test="tests/execution/test_memory_rules.py::test_one_rule_fails_alone",
            ),
            Neighbour(code="memory.tidy", does="removes what has expired, and the least used above the limit"),
            Neighbour(code="memory.remember, forget; manage.py memory; admin", does="an operator reads and writes"),
        ),
    ),
    Flow(
        number=5,
        substrate="table provenance",
        who="performing: execution record",
        promise="exactly one record per finished step, also after a resume",
        code="execution/provenance.py, sql/lineage_v1.sql",
        fault="kill -9 of the performing process, twice in one step; kill -9 of a recorder before its commit; four recorders at once",
        neighbours=(
            Neighbour(
                code="runs.retry",
                does="lets a step finish again: its record is renewed",
                test="tests/execution/test_provenance.py::TestRecord::test_finished_again_is_one_record",
            ),
            Neighbour(
                code="manage.py provenance",
                does="records what it is asked for, then reads",
                test=f"{STORIES}::test_flow[5]",
            ),
            Neighbour(code="provenance_formats; admin", does="reads"),
        ),
    ),
    Flow(
        number=6,
        substrate="table recovery_candidates",
        who="claim worker, SKIP LOCKED",
        promise="two claimers never share a row; a killed claimer's rows come back",
    ),
    Flow(
        number=7,
        substrate="table recovery_candidates",
        who="evaluator: status",
        promise="evaluated twice, decided once",
    ),
    Flow(
        number=8,
        substrate="suggestion_action",
        who="evaluator: templates",
        promise="a template edited in mid-evaluation leaves a consistent version in the record",
    ),
    Flow(
        number=9,
        substrate="suggestion_provenance",
        who="evaluator: audit",
        promise="no decision without its provenance, in one transaction",
    ),
    Flow(
        number=10,
        substrate="graduation_history",
        who="graduation evaluator: former status",
        promise="`degraded` is reached and left, across a restart",
        code="graduation/evaluator.py",
        fault="the worker is killed in mid-evaluation, when the status is lost; another when it is degraded",
        tests=(
            f"{EVALUATOR}::TestDegraded::test_lost_gate_locks_at_once_and_returns",
            f"{EVALUATOR}::TestDegraded::test_left_for_less_by_a_review",
        ),
        neighbours=(
            Neighbour(
                code="sql/immutable_v1.sql (graduation)",
                does="refuses to change a row of history",
                test=f"{EVALUATOR}::TestWriting::test_history_keeps_gates_and_evidence",
            ),
            Neighbour(code="manage.py agents review; admin", does="reads"),
        ),
    ),
    Flow(
        number=11,
        substrate="graduation_status",
        who="graduation evaluator: update",
        promise="two evaluators at once: one writes, the other learns it",
        code="graduation/evaluator.py",
        fault="two evaluators have looked at the same status before either writes; four evaluate everything at once",
        tests=(f"{EVALUATOR}::TestWriting::test_overtaken_writes_nothing",),
        neighbours=(
            Neighbour(
                code="evaluator.review",
                does="notes who has looked, and leaves the epoch",
                test=f"{EVALUATOR}::TestDegraded::test_earlier_review_does_not_leave_it",
            ),
            Neighbour(
                code="sql/lock_new_agent_v1.sql",
                does="asks whether the system was evaluated, and locks a new agent",
                test=f"{EVALUATOR}::TestStatus::test_the_system_and_the_agent_both",
            ),
            Neighbour(code="manage.py agents; admin", does="reads"),
        ),
    ),
    Flow(
        number=12,
        substrate="capability_lockouts",
        who="graduation evaluator, claim",
        promise="a locked capability is never started, not even by a claim that races the lock",
        code="graduation/lockouts.py, execution/agents.py, sql/claim_v1.sql",
        fault="a status is lost while a claim is in flight, and while three threads claim",
        tests=("tests/execution/test_agents.py::TestLockout::test_no_claim_that_follows_an_ending_slips_past",),
        neighbours=(
            Neighbour(
                code="manage.py agents lock, unlock; admin",
                does="persons' lockouts, which no status lifts",
                test=f"{EVALUATOR}::TestWriting::test_what_a_person_locked_stays",
            ),
            Neighbour(
                code="sql/lock_new_agent_v1.sql",
                does="locks a new agent",
                test=f"{EVALUATOR}::TestStatus::test_the_system_and_the_agent_both",
            ),
            Neighbour(code="agents.is_unlocked", does="reads, and holds the agent until its transaction ends"),
            Neighbour(code="why; admin", does="reads"),
        ),
    ),
    Flow(
        number=13,
        substrate="failure_matches",
        who="aggregation: unmatched",
        promise="a failure arriving in mid-aggregation is in this night's or the next, never in neither",
    ),
    Flow(
        number=14,
        substrate="failure_pattern_exports",
        who="aggregation: metadata",
        promise="a night run twice, or killed half-way, leaves one export",
        code="recovery/exports.py, recovery/kept.py, recovery/uploads.py",
        fault="kill -9 of the exporter before its k-th statement or change of a file, for every k; "
        "kill -9 while the bucket takes the object, and when it has it; each night run again with other lines",
        neighbours=(
            Neighbour(
                code="uploads.UPLOADS (cycle)",
                does="uploads what waits, under a lease",
                test="tests/recovery/test_exports.py::TestTrouble::test_claimed_row_is_left_alone",
            ),
            Neighbour(
                code="manage.py exports; admin",
                does="uploads, verifies and reads by the same verbs",
                test="tests/recovery/test_export_admin.py::test_actions",
            ),
            Neighbour(
                code="exports.totals; doctor",
                does="reads",
                test="tests/recovery/test_exports.py::TestTrouble::test_pauses_grow_and_end",
            ),
        ),
    ),
    Flow(
        number=15,
        substrate="job_items",
        who="job workers, SKIP LOCKED",
        promise="every item's effect recorded once, whichever workers die",
        code="execution/lanes.py, sql/record_items_v1.sql, sql/take_items_v1.sql",
        fault="two workers are killed by kill -9 and one is frozen, each in mid-chunk; the frozen one wakes late",
        tests=("tests/execution/test_jobs.py::test_any_interleaving_records_each_item_once[0]",),
        neighbours=(
            Neighbour(code="jobs.spawn", does="streams items in, all or none"),
            Neighbour(code="jobs.retry", does="opens failed items again, under the run's lock, once it has ended"),
            Neighbour(code="jobs.progress, results; manage.py jobs; admin", does="reads"),
            Neighbour(code="retention.clean_up", does="removes the items of jobs that ended long ago"),
        ),
    ),
    Flow(
        number=16,
        substrate="acquire_lock()",
        who="outbox processor",
        promise="one leader; a leader that stalls past its time loses to a higher token",
    ),
    Flow(number=17, substrate="release_lock()", who="outbox processor", promise="only its holder can release"),
    Flow(number=18, substrate="extend_lock()", who="outbox processor", promise="an extension after expiry is refused"),
    Flow(
        number=19,
        substrate="claim_outbox()",
        who="outbox processor",
        promise="no row is in two hands; order per aggregate kept",
    ),
    Flow(
        number=20,
        substrate="complete_outbox()",
        who="outbox processor",
        promise="a stale holder's completion is refused",
    ),
    Flow(
        number=21,
        substrate="Redis list",
        who="express lane",
        promise="Redis restarted empty: the candidate is still evaluated",
    ),
    Flow(
        number=22,
        substrate="Redis stream",
        who="evaluator, consumer group",
        promise="entries written before the group existed are read",
    ),
    Flow(
        number=23,
        substrate="consumer group",
        who="evaluator",
        promise="a killed consumer's entries are claimed by another",
    ),
    Flow(
        number=24,
        substrate="dead letter stream",
        who="stream",
        promise="a poison entry ends there once, with its reason; replay is once",
    ),
    Flow(
        number=25,
        substrate="stream metadata",
        who="metrics",
        promise="metrics missing or Redis away: nothing else notices",
    ),
    Flow(
        number=26,
        substrate="distributed lock",
        who="periodic cycles",
        promise="a tick runs once with two beats",
    ),
    Flow(number=27, substrate="pub/sub", who="dispatcher", promise="a lost message loses no handler's work"),
    Flow(
        number=28,
        substrate="R2",
        who="storage helper",
        promise="500s, time-outs, a cut upload: retried, verified, or kept for later",
        code="recovery/storages.py, recovery/uploads.py",
        fault="500, no answer, a connection cut in mid-upload, a body truncated or changed under a 200, a lost answer; "
        "then five of them in a row",
        neighbours=(
            Neighbour(
                code="exports.download",
                does="reads: a file whole and verified, or none",
                test="tests/recovery/test_exports.py::TestVerify::test_download_is_whole_or_nothing",
            ),
            Neighbour(
                code="kept.sweep",
                does="removes kept bytes once they were uploaded long ago",
                test="tests/recovery/test_exports.py::TestSweep::test_removes_what_is_old",
            ),
        ),
    ),
    Flow(
        number=29,
        substrate="R2",
        who="aggregation export",
        promise="the object's hash equals its row's",
        code="recovery/exports.py: verify, recovery/uploads.py",
        fault="four exporters of one night at once; the object changed, truncated and emptied in its bucket",
        neighbours=(
            Neighbour(
                code="the object gone; its bytes gone as well",
                does="is said, and the row stays as it is",
                test="tests/recovery/test_exports.py::TestVerify::test_object_that_is_gone",
            ),
        ),
    ),
    Flow(
        number=30,
        substrate="Vault",
        who="storage helper: credentials",
        promise="lease ends, Vault away: cached until expiry, then a clear error, nothing lost",
        code="recovery/credentials.py",
        fault="Vault stopped before the lease ends, and until after it; then started again",
        neighbours=(
            Neighbour(
                code="storages.ExportStorage: refused credentials",
                does="asks Vault anew at once",
                test="tests/recovery/test_credentials.py::TestExports::test_rotated_key",
            ),
        ),
    ),
    Flow(
        number=31,
        substrate="httpx",
        who="outbox: webhooks",
        promise="delivered at least once, same id each time, signed; a dead receiver blocks nobody else",
    ),
    Flow(
        number=32,
        substrate="Celery broker",
        who="doorbell",
        promise="flushed in mid-run: nothing lost",
        code="execution/doorbell.py, execution/upkeep.py, sql/feed_v1.sql",
        fault="FLUSHALL twice while thirty runs are queued and performed",
        neighbours=(
            Neighbour(code="messages of other producers", does="adopted before they are acknowledged"),
            Neighbour(code="errands: plain tasks of a canvas", does="published from the ledger, at least once"),
            Neighbour(
                code="beat", does="sends due entries; a lost tick is not made up for", test=f"{STORIES}::test_flow[38]"
            ),
        ),
    ),
    Flow(
        number=33,
        substrate="presence",
        who="keeper, sweep",
        promise="SIGSTOP, kill -9, cut network: the step goes on elsewhere from its last checkpoint, "
        "and the late worker's write is refused",
        code="execution/presence.py, execution/keeping.py, execution/upkeep.py, sql/sweep_v1.sql, sql/extend_v1.sql",
        fault="the whole worker killed; frozen past its lease, then woken; its database connections cut, then restored",
        neighbours=(
            Neighbour(code="manage.py workers, doctor, metrics", does="reads"),
            Neighbour(code="retention.clean_up", does="forgets workers that are long gone"),
        ),
    ),
    Flow(
        number=34,
        substrate="timers",
        who="upkeep: wake",
        promise="restart with overdue timers: each fires at once, and once",
        code="execution/timers.py, execution/upkeep.py, sql/wake_v1.sql",
        fault="the worker killed, both servers restarted, Redis emptied, while a sleep and a custom timer fall due",
        neighbours=(
            Neighbour(
                code="sql/finish_v1.sql", does="stores a wait before it starts", test=f"{STORIES}::test_flow[34]"
            ),
            Neighbour(code="timers.cancel", does="cancels; loses or wins against the firing"),
            Neighbour(code="sql/cleanup_timers_v1.sql", does="removes fired ones of ended runs"),
        ),
    ),
    Flow(
        number=35,
        substrate="checkpoints",
        who="context: once, each, append, save",
        promise="killed between doing and recording: that one call is repeated, nothing that was recorded is",
        code="execution/context.py, sql/record_v1.sql",
        fault="kill -9 inside a once and inside an iteration of each, after the work and before the record",
        neighbours=(
            Neighbour(code="runs.fork", does="copies what was recorded before a mark"),
            Neighbour(code="sql/cleanup_checkpoints_v1.sql", does="removes those of runs that ended long ago"),
            Neighbour(code="manage.py run, story", does="reads"),
        ),
    ),
    Flow(
        number=36,
        substrate="effects",
        who="context: effect",
        promise="killed between intent and receipt: its policy decides, again under the same key, ask, or fail",
        code="execution/context.py, execution/effects.py, sql/intend_v1.sql, sql/receipt_v1.sql",
        fault="kill -9 of the process after the outside world was changed and before the receipt",
        neighbours=(
            Neighbour(
                code="effects.decide; manage.py effect", does="a person decides", test=f"{STORIES}::test_flow[36]"
            ),
            Neighbour(code="runs.fork", does="copies done ones only"),
        ),
    ),
    Flow(
        number=37,
        substrate="budgets",
        who="claim",
        promise="fifty claims at once reserve no cent more than the budget holds",
        code="execution/budgets.py, sql/claim_v1.sql, sql/settle_v1.sql",
        fault="fifty claims at once for a run of fifty steps, fifty for an agent's fifty runs; a holder is lost",
        neighbours=(
            Neighbour(code="sql/reserve_v1.sql, sql/charge_v1.sql", does="grows a reservation"),
            Neighbour(code="sql/overdraw_v1.sql", does="books a lost worker's late cost, never refused"),
            Neighbour(code="budgets.top_up", does="raises it and lets the run go on", test=f"{STORIES}::test_flow[37]"),
            Neighbour(code="sql/call_v1.sql", does="carves a child's budget from its parent's"),
        ),
    ),
    Flow(
        number=38,
        substrate="beat",
        who="cycles",
        promise="stopped for an hour, then two at once: each tick is claimed once, and none is made up for in a burst",
        code="execution/cycles.py, execution/schedule.py, sql/tick_v1.sql",
        fault="no beat, then two of them over entries that were last run an hour ago",
        neighbours=(
            Neighbour(code="upkeep (sweep, wake, feed)", does="needs no beat", test=f"{STORIES}::test_flow[38]"),
            Neighbour(
                code="upkeep in several keepers",
                does="each tick is claimed once",
                test=f"{LIVENESS}::test_two_upkeeps_side_by_side_do_no_harm",
            ),
            Neighbour(code="migrate", does="installs missing entries and changes none"),
            Neighbour(code="admin of django-celery-beat", does="an operator edits the entries"),
        ),
    ),
    Flow(
        number=39,
        substrate="PostgreSQL",
        who="every guarded write",
        promise="restarted under load: every run ends once, and no step is left without an owner",
        code="execution/ledger.py, execution/keeping.py, sql/sweep_v1.sql",
        fault="immediate shutdown of PostgreSQL (no checkpoint, recovery at the start) while two workers perform",
        neighbours=(
            Neighbour(
                code="Django's own connections", does="the caller's transaction fails as it would without Celeriac"
            ),
        ),
    ),
    Flow(
        number=40,
        substrate="event cursors",
        who="events.read, events.consume",
        promise="a slow transaction commits late and is still read, once",
        code="execution/events.py",
        fault="a transaction writes an event and stays open while later events are committed and read",
        neighbours=(
            Neighbour(code="every guarded write", does="appends in the transaction of what happened"),
            Neighbour(code="events.drop_partitions", does="marks a reader it overtakes as overrun"),
            Neighbour(code="events.read after a dump and restore", does="goes on behind the seam"),
        ),
    ),
)


def built() -> list[Flow]:
    """Return the flows that must be proven."""
    return [flow for flow in FLOWS if flow.is_built]
