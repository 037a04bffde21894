"""The Procrastinate application that its producer and its workers share."""

from procrastinate import App, PsycopgConnector

from benchmarks import tally

QUEUE = "work"

app = App(connector=PsycopgConnector())


@app.task(name="work", queue=QUEUE)
def work(number: int) -> None:
    tally.add()
