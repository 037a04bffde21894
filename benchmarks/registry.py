"""Every figure that is measured, with its contenders and its target (`docs/benchmarks.md` is generated from here).

To add one: a module `benchmarks/ours/<name>.py` with `measure(load)`, and an entry here.
"""

from benchmarks.figures import (
    Contender,
    Figure,
    at_least,
    at_least_times,
    median_below,
    percentile_below,
    times_as_fast,
    worst_below,
)


def _ours(
    name: str, *, count: int, quick_count: int, options: tuple[str, ...] = (), seconds: float | None = None
) -> Contender:
    return Contender(
        module=f"benchmarks.ours.{name}", count=count, quick_count=quick_count, options=options, seconds=seconds
    )


def _peer(name: str, *, count: int, quick_count: int, options: tuple[str, ...] = (), note: str = "") -> Contender:
    return Contender(
        module=f"benchmarks.peers.{name}", count=count, quick_count=quick_count, options=options, note=note
    )


RECORDED_STEPS = Figure(
    name="recorded_steps_per_s",
    title="Recorded steps per second in one skill, 1 KB each",
    unit="steps/s",
    better="higher",
    ours=_ours("recorded_steps_per_s", count=5000, quick_count=1000),
    peers={
        "dbos": _peer("dbos_steps", count=1000, quick_count=300, note="`@DBOS.step` in one workflow"),
        "langgraph": _peer(
            "langgraph_steps",
            count=1500,
            quick_count=400,
            note="a checkpoint per node, stored before the next one starts; saver in pipeline mode",
        ),
        "langgraph_async": _peer(
            "langgraph_steps",
            count=1500,
            quick_count=400,
            options=("async",),
            note="its default durability: goes on before the write is stored",
        ),
        "langgraph_tasks": _peer(
            "langgraph_steps",
            count=1500,
            quick_count=400,
            options=("tasks",),
            note="the functional API's `@task`: goes on before the write is stored",
        ),
        "bare_commits": _peer(
            "bare_commits", count=5000, quick_count=1500, note="prepared single-row INSERT, one commit each, psycopg 3"
        ),
    },
    target=at_least_times(8, "dbos") & at_least_times(3, "langgraph") & at_least_times(0.75, "bare_commits"),
)

RUNS = Figure(
    name="runs_per_s",
    title="Single-step runs per second, start to finish, two pool processes",
    unit="runs/s",
    better="higher",
    ours=_ours("runs_per_s", count=2000, quick_count=500),
    peers={
        "celery": _peer("celery_runs", count=2000, quick_count=500, note="prefork with two processes, results off"),
        "celery_results": _peer(
            "celery_runs",
            count=2000,
            quick_count=500,
            options=("results",),
            note="the same with results in Redis",
        ),
        "dbos_queue": _peer(
            "dbos_runs",
            count=1500,
            quick_count=500,
            note="two executors, each with as many workflows in flight as it likes, polled every 100 ms",
        ),
        "dbos_queue_default": _peer(
            "dbos_runs",
            count=1500,
            quick_count=500,
            options=("processes=1", "poll=1.0"),
            note="one executor as it comes, polled every second",
        ),
        "dbos_queue_two_slots": _peer(
            "dbos_runs",
            count=400,
            quick_count=200,
            options=("slots=1", "poll=0.002"),
            note="two executors held to one workflow each at a time, polled every 2 ms",
        ),
        "procrastinate": _peer(
            "procrastinate_runs", count=1500, quick_count=500, note="two processes with five jobs in flight each"
        ),
        "procrastinate_two_slots": _peer(
            "procrastinate_runs",
            count=1000,
            quick_count=500,
            options=("slots=1",),
            note="two processes held to one job each at a time",
        ),
        "procrastinate_one_process": _peer(
            "procrastinate_runs",
            count=1000,
            quick_count=500,
            options=("slots=2", "processes=1"),
            note="one process with two jobs in flight",
        ),
    },
    # Judged against each peer's fastest configuration; those held to two jobs at a time are there for comparison.
    target=at_least_times(0.8, "celery") & at_least_times(2, "dbos_queue") & at_least_times(2, "procrastinate"),
)

RUNS_TOGETHER = Figure(
    name="runs_together_per_s",
    title="Single-step runs per second that were started together, start to finish, two pool processes",
    unit="runs/s",
    better="higher",
    ours=_ours("runs_per_s", count=4000, quick_count=1500, options=("together",)),
    peers={
        "celery": _peer(
            "celery_runs", count=4000, quick_count=1500, options=("together",), note="one `group`, results off"
        ),
        "dbos_queue": _peer(
            "dbos_runs",
            count=3000,
            quick_count=1000,
            options=("together",),
            note="enqueued in one transaction; two executors, polled every 100 ms",
        ),
        "procrastinate": _peer(
            "procrastinate_runs",
            count=3000,
            quick_count=1000,
            options=("together",),
            note="one `batch_defer`; two processes with five jobs in flight each",
        ),
    },
    target=at_least_times(0.8, "celery") & at_least_times(2, "dbos_queue") & at_least_times(2, "procrastinate"),
)

CHAIN = Figure(
    name="chain_10_ms",
    title="A chain of 10 steps, start to last result, idle workers",
    unit="ms",
    better="lower",
    ours=_ours("chain_10_ms", count=50, quick_count=20),
    peers={
        "celery_chain": _peer("celery_chain", count=50, quick_count=20, note="Celery's `chain`, results in Redis"),
    },
    target=times_as_fast(3, "celery_chain"),
)

CHAIN_GRAPH = Figure(
    name="chain_10_graph_ms",
    title="A workflow of 10 steps one after the other, start to its result, idle workers",
    unit="ms",
    better="lower",
    ours=_ours("chain_10_graph_ms", count=50, quick_count=20),
    peers={
        "celery_chain": _peer("celery_chain", count=50, quick_count=20, note="Celery's `chain`, results in Redis"),
    },
    target=times_as_fast(3, "celery_chain"),
)

FAN_OUT = Figure(
    name="fan_out_1000_ms",
    title="A fan-out of 1,000 steps and its fan-in, start to the gathered result, two pool processes",
    unit="ms",
    better="lower",
    ours=_ours("fan_out_1000_ms", count=5, quick_count=2),
    peers={
        "celery_chord": _peer("celery_fan_out", count=5, quick_count=2, note="Celery's `chord`, results in Redis"),
    },
    target=times_as_fast(1, "celery_chord"),
)

JOB_ITEMS = Figure(
    name="job_items_per_s",
    title="Items of one job per second, spawned, performed and recorded, two pool processes",
    unit="items/s",
    better="higher",
    ours=_ours("job_items_per_s", count=100_000, quick_count=20_000),
    peers={
        "celery": _peer(
            "celery_runs", count=2000, quick_count=500, note="a task an item, results off: nothing recorded"
        ),
        "celery_results": _peer(
            "celery_runs",
            count=2000,
            quick_count=500,
            options=("results",),
            note="the same with results in Redis",
        ),
    },
    target=at_least_times(10, "celery"),
)

JOB_MEMORY = Figure(
    name="job_memory_mb",
    title="Memory that 1,000,000 items of one job add to a worker's largest process, and whether the pace holds",
    unit="MB",
    better="lower",
    ours=_ours("job_memory_mb", count=1_000_000, quick_count=50_000, seconds=600),
    peers={},
    target=median_below(16, "MB")
    & median_below(16, "MB in the process that spawns", of="spawning_mb")
    & median_below(1.3, "times the time of the first fifth for the last", of="slowdown"),
    rounds=1,
)

BULK_START = Figure(
    name="bulk_start_per_s",
    title="Bulk start of runs into the ledger",
    unit="runs/s",
    better="higher",
    ours=_ours("bulk_start_per_s", count=50_000, quick_count=10_000),
    peers={},
    target=at_least(10_000, "runs/s"),
)

START_LATENCY = Figure(
    name="start_latency_ms",
    title="Start to the first line of the skill, idle worker",
    unit="ms",
    better="lower",
    ours=_ours("start_latency_ms", count=200, quick_count=50),
    peers={},
    target=median_below(15, "ms") & percentile_below(99, 60, "ms"),
)

CHECKPOINT_5K = Figure(
    name="checkpoint_5k_ms",
    title="Saving a checkpoint of 5 KB, and loading it",
    unit="ms",
    better="lower",
    ours=_ours("checkpoint_5k_ms", count=500, quick_count=100),
    peers={},
    target=median_below(3, "ms") & median_below(3, "ms", of="load"),
)

CHECKPOINT_100K = Figure(
    name="checkpoint_100k_ms",
    title="Saving a checkpoint of 100 KB, and loading it",
    unit="ms",
    better="lower",
    ours=_ours("checkpoint_100k_ms", count=300, quick_count=60),
    peers={},
    target=median_below(10, "ms") & median_below(3, "ms", of="load"),
)

CRASH_TO_RESUME = Figure(
    name="crash_to_resume_ms",
    title="`kill -9` of a whole worker to the first new checkpoint elsewhere, a slot free",
    unit="ms",
    better="lower",
    ours=_ours("crash_to_resume_ms", count=50, quick_count=5, seconds=600),
    peers={},
    target=median_below(2500, "ms") & worst_below(4000, "ms", attempts=50),
    rounds=1,
)

APPEND_STORAGE = Figure(
    name="append_storage_ratio",
    title="Storage of 5,000 appended messages of 4 KB, as a share of their own size, and the time to resume",
    unit="ratio",
    better="lower",
    ours=_ours("append_storage_ratio", count=5000, quick_count=500),
    peers={},
    target=median_below(1, "of their own size") & median_below(100, "ms", of="resume"),
    rounds=1,
)

SCALE = Figure(
    name="scale_ratio",
    title="A claim, a feed and a wake beside 1,000,000 ready steps and timers, over the same beside 1,000",
    unit="ratio",
    better="lower",
    ours=_ours("scale_ratio", count=1_000_000, quick_count=50_000, seconds=900),
    peers={},
    target=median_below(1.3, "for a claim", of="claim")
    & median_below(1.3, "for a feed", of="feed")
    & median_below(1.3, "for a wake", of="wake"),
    rounds=1,
)

WEBHOOK_RATE = Figure(
    name="webhook_deliveries_per_s",
    title="Webhooks per second to a receiver on this machine, eight at once, signed and completed",
    unit="deliveries/s",
    better="higher",
    ours=_ours("webhook_deliveries_per_s", count=3000, quick_count=500),
    peers={},
    target=at_least(300, "deliveries/s"),
)

WEBHOOK_LATENCY = Figure(
    name="webhook_latency_ms",
    title="An event's commit to its receipt at ten endpoints while an eleventh hangs, beside the same while it answers",
    unit="ms",
    better="lower",
    ours=_ours("webhook_latency_ms", count=1200, quick_count=400, seconds=300),
    peers={},
    target=median_below(1.2, "times the median while it answers", of="ratio_p50")
    & median_below(1.2, "times the 99th percentile while it answers", of="ratio_p99"),
    rounds=3,
)

EVALUATIONS = Figure(
    name="evaluations_per_s",
    title="Candidates evaluated per second by one evaluator, with their provenance",
    unit="candidates/s",
    better="higher",
    ours=_ours("evaluations_per_s", count=5000, quick_count=1000),
    peers={},
    target=at_least(200, "candidates/s"),
)

FAILURES = Figure(
    name="failures_per_s",
    title="Failures taken in per second, from the log to a row with fingerprint, template, pattern and candidate",
    unit="failures/s",
    better="higher",
    ours=_ours("failures_per_s", count=6000, quick_count=1500),
    peers={},
    target=at_least(2000, "failures/s"),
)

FAILURES_TRIED_AGAIN = Figure(
    name="failures_tried_again_per_s",
    title="The same of failures that are tried again, which open no candidate",
    unit="failures/s",
    better="higher",
    ours=_ours("failures_per_s", count=6000, quick_count=1500, options=("ending=retrying",)),
    peers={},
    target=at_least(2000, "failures/s"),
)

FIGURES = (
    RECORDED_STEPS,
    RUNS,
    RUNS_TOGETHER,
    CHAIN,
    CHAIN_GRAPH,
    FAN_OUT,
    JOB_ITEMS,
    JOB_MEMORY,
    BULK_START,
    START_LATENCY,
    CHECKPOINT_5K,
    CHECKPOINT_100K,
    CRASH_TO_RESUME,
    APPEND_STORAGE,
    SCALE,
    WEBHOOK_RATE,
    WEBHOOK_LATENCY,
    EVALUATIONS,
    FAILURES,
    FAILURES_TRIED_AGAIN,
)
