"""The flows: what reads or writes which substrate, what it promises, and the fault that must not break the promise."""

from __future__ import annotations

from dataclasses import dataclass

STORIES = "tests/flows/test_flows.py"
LIVENESS = "tests/scenarios/test_liveness.py"
OUTBOX = "tests/recovery/test_outbox.py"
WEBHOOKS = "tests/recovery/test_webhooks.py"
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
        code="recovery/candidates.py, recovery/sql/claim_candidates_v1.sql",
        fault="of two claiming processes one is killed with kill -9 and one frozen, each with fifty rows",
        neighbours=(
            Neighbour(
                code="candidates.open_for",
                does="opens one for each run and kind, however many readers take failures in",
                test="tests/recovery/test_candidates.py::TestOpening::test_races",
            ),
            Neighbour(
                code="stream and express lane: evaluator.evaluate_ids",
                does="claims by id, by the same function",
                test="tests/recovery/test_candidates.py::TestEvaluating::test_ids_that_need_nothing_more_are_told",
            ),
            Neighbour(
                code="candidates.hurry",
                does="marks an open one as urgent",
                test="tests/recovery/test_candidates.py::TestClaiming::test_urgent_first_then_the_oldest",
            ),
            Neighbour(code="manage.py candidates, actions; admin", does="reads"),
        ),
    ),
    Flow(
        number=7,
        substrate="table recovery_candidates",
        who="evaluator: status",
        promise="evaluated twice, decided once",
        code="recovery/evaluator.py",
        fault="an evaluator is frozen before it writes and its leases end; eight others race for the same rows",
        neighbours=(
            Neighbour(
                code="decisions.approve, reject, change_and_approve",
                does="writes if state and epoch are as they were looked at",
                test="tests/recovery/test_decisions.py::TestDeciding::test_race_of_ten",
            ),
            Neighbour(
                code="decisions.apply",
                does="does it once, or finds it overtaken",
                test="tests/recovery/test_decisions.py::TestApplying::test_race_of_ten",
            ),
            Neighbour(
                code="outcomes",
                does="ends what was applied, once, whichever reader comes first",
                test="tests/recovery/test_decisions.py::TestOutcomes::test_ineffective_and_the_next_one_is_opened",
            ),
            Neighbour(
                code="candidates.open_for",
                does="joins what is open",
                test="tests/recovery/test_candidates.py::TestOpening::test_races",
            ),
        ),
    ),
    Flow(
        number=8,
        substrate="suggestion_action",
        who="evaluator: templates",
        promise="a template edited in mid-evaluation leaves a consistent version in the record",
        code="recovery/evaluator.py, recovery/weighing.py, recovery/sql/count_action_version_v1.sql",
        fault="the template changes between an evaluator's look and its write, and again and again while sixty are evaluated",
        neighbours=(
            Neighbour(
                code="playbook.change; admin",
                does="writes if the version is as it was looked at",
                test="tests/recovery/test_decisions.py::TestPlaybook::test_second_editor_loses",
            ),
            Neighbour(
                code="playbook.install",
                does="adds what is missing at a migration, changes nothing",
                test="tests/recovery/test_candidates.py::test_playbook_is_installed_and_kept",
            ),
            Neighbour(
                code="decisions.apply",
                does="uses the candidate's own copy",
                test="tests/recovery/test_decisions.py::TestApplying::test_frozen_parameters_are_applied",
            ),
        ),
    ),
    Flow(
        number=9,
        substrate="suggestion_provenance",
        who="evaluator: audit",
        promise="no decision without its provenance, in one transaction",
        code="recovery/evaluator.py, recovery/decisions.py",
        fault="kill -9 between the decision, its provenance and its action; then the audit cannot be written while others decide and apply",
        neighbours=(
            Neighbour(
                code="outcomes",
                does="writes a line with what became of it",
                test="tests/recovery/test_decisions.py::TestOutcomes::test_recovered",
            ),
            Neighbour(code="admin; manage.py candidates show", does="reads"),
        ),
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
        code="recovery/aggregation.py",
        fault="failures arrive while the night stands still half-way; it is killed by kill -9, and done again with more arriving",
        tests=(
            "tests/recovery/test_patterns.py::TestAggregation::test_taken_in_meanwhile",
            "tests/recovery/test_patterns.py::TestAggregation::test_two_at_once",
        ),
        neighbours=(
            Neighbour(
                code="failures.take_in",
                does="writes a failure once, however often the log is read, and matches what has a pattern",
                test="tests/recovery/test_failures.py::TestReading::test_read_again",
            ),
            Neighbour(
                code="failures.forget",
                does="removes old failures, none with an open candidate",
                test="tests/recovery/test_failures.py::TestLeaving::test_old_failures_leave",
            ),
            Neighbour(code="candidates.open_for", does="reads what intake wrote, in the same transaction"),
            Neighbour(code="manage.py failures, patterns; admin", does="reads"),
        ),
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
        code="recovery/locks.py, recovery/courier.py, recovery/sql/acquire_lock_v1.sql",
        fault="sixteen ask at once; the leader frozen by SIGSTOP past its time, then woken; its successor killed by kill -9",
        tests=("tests/recovery/test_locks.py::test_token_rises_at_each_change",),
        neighbours=(
            Neighbour(
                code="sql/claim_outbox_v1.sql, complete_outbox_v1.sql",
                does="compares the token, holding the row",
                test=f"{OUTBOX}::TestClaim::test_stale_leader_claims_and_completes_nothing",
            ),
            Neighbour(code="admin of locks; metrics", does="reads"),
        ),
    ),
    Flow(
        number=17,
        substrate="release_lock()",
        who="outbox processor",
        promise="only its holder can release",
        code="recovery/locks.py, recovery/sql/release_lock_v1.sql",
        fault="the leader frozen past its time and succeeded, then woken to release; strangers with one right word; eight at once",
        tests=("tests/recovery/test_locks.py::test_only_its_holder_extends_and_releases",),
        neighbours=(
            Neighbour(
                code="courier.stop: a pool process ends",
                does="releases, so that another leads at once",
                test=f"{OUTBOX}::TestDeliver::test_stopped_courier_lets_go",
            ),
        ),
    ),
    Flow(
        number=18,
        substrate="extend_lock()",
        who="outbox processor",
        promise="an extension after expiry is refused",
        code="recovery/locks.py, recovery/courier.py, recovery/sql/extend_lock_v1.sql",
        fault="the leader frozen by SIGSTOP until its time has run out, and nobody else asks for the lock",
        tests=("tests/recovery/test_locks.py::test_only_its_holder_extends_and_releases",),
        neighbours=(
            Neighbour(
                code="locks.acquire by the same holder", does="answers the same token, or a new one after the time"
            ),
        ),
    ),
    Flow(
        number=19,
        substrate="claim_outbox()",
        who="outbox processor",
        promise="no row is in two hands; order per aggregate kept",
        code="recovery/outbox.py, recovery/sql/claim_outbox_v1.sql",
        fault="eight claims at once; four leaders killed by kill -9 in mid-delivery, one after the other",
        tests=(
            f"{OUTBOX}::TestClaim::test_order_of_an_aggregate",
            f"{OUTBOX}::TestClaim::test_one_endpoint_cannot_fill_a_batch",
        ),
        neighbours=(
            Neighbour(
                code="outbox.publish",
                does="adds a message, once for its event and endpoint",
                test=f"{OUTBOX}::TestPublish::test_each_event_once_to_each_that_wants_it",
            ),
            Neighbour(
                code="webhooks.replay, replay_since; manage.py webhooks; admin",
                does="makes a message due again, unless it is under way",
                test=f"{WEBHOOKS}::TestTestAndReplay::test_replay_by_id_keeps_the_id",
            ),
            Neighbour(
                code="webhooks.disable, enable",
                does="keeps an endpoint's messages back",
                test=f"{WEBHOOKS}::TestEndpoints::test_disabled_and_enabled",
            ),
            Neighbour(
                code="webhooks.remove",
                does="removes an endpoint with its messages",
                test=f"{WEBHOOKS}::TestEndpoints::test_removed_with_its_messages",
            ),
            Neighbour(
                code="outbox.clean_up",
                does="removes what ended long ago",
                test=f"{OUTBOX}::TestLook::test_old_messages_leave",
            ),
            Neighbour(
                code="outbox.counts; doctor; admin", does="reads", test=f"{OUTBOX}::TestLook::test_counts_and_lag"
            ),
        ),
    ),
    Flow(
        number=20,
        substrate="complete_outbox()",
        who="outbox processor",
        promise="a stale holder's completion is refused",
        code="recovery/outbox.py, recovery/sql/complete_outbox_v1.sql",
        fault="the leader frozen by SIGSTOP between POST and completion, and succeeded; a row that was claimed again",
        tests=(f"{OUTBOX}::TestClaim::test_stale_leader_claims_and_completes_nothing",),
        neighbours=(
            Neighbour(
                code="sql/disable_webhook_v1.sql",
                does="disables what is gone, or failed for 120 hours",
                test=f"{OUTBOX}::TestDeliver::test_failing_for_120_hours_disables",
            ),
        ),
    ),
    Flow(
        number=21,
        substrate="Redis list",
        who="express lane",
        promise="Redis restarted empty: the candidate is still evaluated",
        code="recovery/queue.py",
        fault="Redis killed and started empty with a full list; kill -9 of a taker between taking and evaluating; Redis dead",
        tests=("tests/recovery/test_stream.py::TestExpressLane::test_dead_consumer_gives_back",),
        neighbours=(
            Neighbour(
                code="stream.work",
                does="takes from the list before it reads the stream",
                test="tests/recovery/test_stream.py::TestExpressLane::test_before_the_stream",
            ),
            Neighbour(code="stream.tidy", does="gives back what dead takers held", test=f"{STORIES}::test_flow[21]"),
            Neighbour(code="the database claim", does="takes what is urgent first, without Redis"),
        ),
    ),
    Flow(
        number=22,
        substrate="Redis stream",
        who="evaluator, consumer group",
        promise="entries written before the group existed are read",
        code="recovery/stream.py",
        fault="no group yet; the group destroyed; kill -9 and restart of Redis; FLUSHALL during an evaluation; "
        "SIGSTOP of Redis while entries are added",
        tests=("tests/recovery/test_stream.py::TestRead::test_group_lost_in_mid_flight[flushall]",),
        neighbours=(
            Neighbour(
                code="stream.add",
                does="writes after the commit; a dead, hanging or full stream costs a fraction of a second",
                test="tests/recovery/test_stream.py::TestAdd::test_frozen_redis_costs_a_fraction_of_a_second",
            ),
            Neighbour(
                code="queue.work",
                does="hands over what the lane could not do",
                test="tests/recovery/test_stream.py::TestExpressLane::test_failed_goes_on_in_the_stream",
            ),
            Neighbour(
                code="dead_letters.replay", does="adds a candidate again, once", test=f"{STORIES}::test_flow[24]"
            ),
            Neighbour(
                code="metrics, doctor", does="reads its length and what is pending", test=f"{STORIES}::test_flow[25]"
            ),
        ),
    ),
    Flow(
        number=23,
        substrate="consumer group",
        who="evaluator",
        promise="a killed consumer's entries are claimed by another",
        code="recovery/stream.py",
        fault="kill -9 of one consumer before its evaluation and of one between commit and acknowledgement; SIGSTOP of a third",
        tests=("tests/recovery/test_stream.py::TestTakeOver::test_cursor_is_followed_to_its_end",),
        neighbours=(
            Neighbour(
                code="stream.tidy",
                does="removes idle consumers, never one that holds something",
                test="tests/recovery/test_stream.py::TestTakeOver::test_idle_consumers_are_removed",
            ),
        ),
    ),
    Flow(
        number=24,
        substrate="dead letter stream",
        who="stream",
        promise="a poison entry ends there once, with its reason; replay is once",
        code="recovery/stream.py, recovery/dead_letters.py",
        fault="an entry kills its evaluator each time; kill -9 between dead letter and acknowledgement; four replays at once",
        tests=("tests/recovery/test_stream.py::TestDeadLetters::test_archive_that_dies_before_it_removes",),
        neighbours=(
            Neighbour(
                code="queue.work",
                does="sends what names no candidate",
                test="tests/recovery/test_stream.py::TestExpressLane::test_nonsense_becomes_a_letter",
            ),
            Neighbour(
                code="handling.py",
                does="keeps a handler's letters in the transaction that gives it up",
                test="tests/recovery/test_dispatcher.py::TestTries::test_backoff_and_dead_letter",
            ),
            Neighbour(
                code="manage.py dead-letters; admin",
                does="lists, shows, replays and dismisses",
                test="tests/recovery/test_dispatcher.py::TestCommands::test_dead_letters",
            ),
        ),
    ),
    Flow(
        number=25,
        substrate="stream metadata",
        who="metrics",
        promise="metrics missing or Redis away: nothing else notices",
        code="recovery/metrics.py, execution/metrics.py",
        fault="SIGSTOP of Redis during a scrape; kill -9 of Redis; the row of totals deleted; figures that raise",
        tests=("tests/recovery/test_metrics.py::test_figures_that_fail_take_no_others_along",),
        neighbours=(
            Neighbour(
                code="doctor",
                does="reads the same figures, and says what is stuck",
                test="tests/recovery/test_metrics.py::test_doctor_names_what_waits",
            ),
        ),
    ),
    Flow(
        number=26,
        substrate="distributed lock",
        who="periodic cycles",
        promise="a tick runs once with two beats",
        code="execution/cycles.py, recovery/courier.py, recovery/sql/acquire_lock_v1.sql",
        fault="two beats, each sending twice as often as is due, to four pool processes of two workers",
        neighbours=(
            Neighbour(code="execution's cycles", does="claim each tick", test=f"{STORIES}::test_flow[38]"),
            Neighbour(
                code="courier: a leader between two ticks",
                does="goes on; another process's tick ends at once",
                test=f"{OUTBOX}::TestClaim::test_endpoint_that_hangs_holds_its_bound_and_no_more",
            ),
        ),
    ),
    Flow(
        number=27,
        substrate="pub/sub",
        who="dispatcher",
        promise="a lost message loses no handler's work",
        code="recovery/dispatcher.py, recovery/handling.py, recovery/handling_process.py",
        fault="kill -9 of Redis with all its messages between events; a viewer leaves; kill -9 of the attendant",
        tests=("tests/recovery/test_dispatcher.py::TestPublishing::test_no_redis",),
        neighbours=(Neighbour(code="live views", does="listens; what it misses it reads from the log"),),
    ),
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
        code="recovery/exports.py, recovery/uploads.py",
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
        code="recovery/posting.py, recovery/courier.py, recovery/network.py",
        fault="kill -9 between POST and completion, three times; a receiver that hangs, resets, redirects, trickles, "
        "answers late, 409, 410, 422, 429 with Retry-After, 500 for days; a hundred endpoints of which one hangs; "
        "DNS rebinding",
        tests=(
            f"{OUTBOX}::TestDeliver::test_failure_is_told_and_tried_again",
            f"{OUTBOX}::TestDeliver::test_late_answer_is_a_failure",
            f"{OUTBOX}::TestDeliver::test_gone_disables",
            f"{OUTBOX}::TestDeliver::test_retry_after_is_kept_within_bounds",
            f"{OUTBOX}::TestDeliver::test_ten_tries_over_days_then_dead",
            f"{OUTBOX}::TestClaim::test_endpoint_that_hangs_holds_its_bound_and_no_more",
            "tests/recovery/test_addresses.py::test_rebinding_is_judged_on_what_is_connected_to",
        ),
        neighbours=(
            Neighbour(
                code="webhooks.send_test; manage.py webhooks test; admin",
                does="posts once, outside the outbox",
                test=f"{WEBHOOKS}::TestTestAndReplay::test_test_message_is_answered_at_once",
            ),
            Neighbour(
                code="webhooks.rotate",
                does="adds a secret; old and new sign for a time",
                test=f"{WEBHOOKS}::TestSecrets::test_both_sign_while_one_is_rotated",
            ),
        ),
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
