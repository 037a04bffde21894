"""LangGraph with its Postgres saver: one node, looped, whose 1 KB result is checkpointed on every pass.

`durability="sync"` stores each checkpoint before the next step starts, which is what the other contenders do too, and a
saver in pipeline mode is its fastest (it waits for the commit all the same). Two options are shown for comparison, both
of which go on before the last write is stored: `async`, the default durability, and `tasks`, the functional API, whose
`@task` results are written in the background.
"""

import time
from typing import TypedDict

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from benchmarks import command

KILOBYTE = "x" * 1024
PACKAGES = ["langgraph", "langgraph-checkpoint-postgres"]


class State(TypedDict):
    left: int
    result: str


def remember(state: State) -> State:
    return {"left": state["left"] - 1, "result": KILOBYTE}


def onward(state: State) -> str:
    return "remember" if state["left"] else END


@task
def remember_task(number: int) -> str:
    return KILOBYTE


def looped(saver: PostgresSaver) -> CompiledStateGraph:
    graph = StateGraph(State)
    graph.add_node("remember", remember)
    graph.add_edge(START, "remember")
    graph.add_conditional_edges("remember", onward, ["remember", END])
    return graph.compile(checkpointer=saver)


def seconds_of_graph(saver: PostgresSaver, count: int, *, durability: str) -> float:
    graph = looped(saver)
    began = time.perf_counter()
    graph.invoke(
        {"left": count, "result": ""},
        {"configurable": {"thread_id": f"thread-{count}"}, "recursion_limit": count + 10},
        durability=durability,
    )
    return time.perf_counter() - began


def seconds_of_tasks(saver: PostgresSaver, count: int) -> float:
    @entrypoint(checkpointer=saver)
    def report(count: int) -> int:
        return sum(len(remember_task(number).result()) for number in range(count))

    began = time.perf_counter()
    report.invoke(count, {"configurable": {"thread_id": f"tasks-{count}"}}, durability="sync")
    return time.perf_counter() - began


def seconds_for(saver: PostgresSaver, count: int, options: tuple[str, ...]) -> float:
    if "tasks" in options:
        return seconds_of_tasks(saver, count)
    return seconds_of_graph(saver, count, durability="async" if "async" in options else "sync")


def measure(load: command.Load) -> command.Measured:
    with PostgresSaver.from_conn_string(load.database) as saver:
        saver.setup()
    with PostgresSaver.from_conn_string(load.database, pipeline=True) as saver:
        seconds_for(saver, 50, load.options)
        seconds = seconds_for(saver, load.count, load.options)
    return command.Measured.rate(load.count, seconds, packages=PACKAGES)


if __name__ == "__main__":
    command.main(measure)
