"""Our own contenders: one module per figure, named after it, with one function `measure(load) -> Measured`.

The harness finds a module by its figure's name (`benchmarks/registry.py`); a figure whose module is not here is left
out of the results. A throughput returns one value per round, a latency all its values in `values`, of which the
median, the 99th percentile and the worst are judged over all rounds; further series (`load`, `resume`) go into `also`.

    from benchmarks import command
    from benchmarks.ours import project


    def measure(load: command.Load) -> command.Measured:
        project.open_for(load)
        ...
        return command.Measured.rate(load.count, seconds)


    if __name__ == "__main__":
        command.main(measure)

For `runs_per_s` use what the peers use: `throughput.seconds_for` with a `Tally`, a skill whose body is `tally.add()`,
and `project.WORKER` within `processes.running`.
"""
