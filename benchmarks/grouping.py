"""`make grouping`: how well messages are grouped, how much their order matters, and how fast it goes.

Accuracy is grouping accuracy as in the Loghub papers: a message counts as right when its group is exactly the group of
the messages that one line of code has written. `tests/data/messages.tsv` holds labelled errors of Python, HTTP clients,
databases, brokers, model providers, agents and systems; other labelled files may be named, such as Loghub's
`*_structured.csv`.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from recovery.mining import Miner

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "data" / "messages.tsv"
BATCH = 100
SHUFFLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured on one file."""

    name: str
    messages: int
    templates: int
    accuracy: float
    shuffled: float
    per_second: float


def read(path: Path) -> tuple[list[str], list[str]]:
    """Return the labels and the messages of a file."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as rows:
            found = [(row["EventId"], row["Content"]) for row in csv.DictReader(rows)]
    else:
        found = [tuple(line.split("\t", 1)) for line in path.read_text(encoding="utf-8").splitlines()]
    return [label for label, _ in found], [message for _, message in found]


def grouped(messages: Sequence[str], *, batch: int = BATCH) -> list[str]:
    """Return each message's template as intake would find it, batch by batch."""
    miner, found = Miner(), []
    for start in range(0, len(messages), batch):
        shapes = [miner.shape_of(message) for message in messages[start : start + batch]]
        miner.learn(shapes)
        found += [miner.find(shape) for shape in shapes]
    return [one.root().digest if one else "" for one in found]


def accuracy(groups: Sequence[str], labels: Sequence[str]) -> float:
    """Return the share of the messages whose group is exactly their label's."""
    by_group, by_label = defaultdict(list), defaultdict(list)
    for place, (group, label) in enumerate(zip(groups, labels, strict=True)):
        by_group[group].append(place)
        by_label[label].append(place)
    true = {tuple(places) for places in by_label.values()}
    return sum(len(places) for places in by_group.values() if tuple(places) in true) / len(labels)


def shuffled(labels: Sequence[str], messages: Sequence[str], seed: int) -> float:
    """Return the accuracy of the same messages in another order."""
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)
    return accuracy(grouped([messages[place] for place in order]), [labels[place] for place in order])


def speed(messages: Sequence[str], *, least: int = 40_000) -> float:
    """Return how many messages a second one core groups, by the processor's time."""
    many = [*messages] * -(-least // len(messages))
    began = time.process_time()
    grouped(many, batch=1000)
    return len(many) / (time.process_time() - began)


def measure(path: Path, *, is_timed: bool = True) -> Measured:
    """Measure one file."""
    labels, messages = read(path)
    found = accuracy(grouped(messages), labels)
    others = [shuffled(labels, messages, seed) for seed in range(SHUFFLES)]
    return Measured(
        name=path.stem,
        messages=len(messages),
        templates=len(set(labels)),
        accuracy=round(found, 4),
        shuffled=round(max(abs(found - other) for other in others), 4),
        per_second=round(speed(messages)) if is_timed else 0,
    )


def main() -> None:
    """Measure the corpus, or the files that are named."""
    parser = argparse.ArgumentParser(description="Measure how well messages are grouped.")
    parser.add_argument("files", nargs="*", type=Path, default=[CORPUS], help="Labelled .tsv, or Loghub's .csv.")
    parser.add_argument("--json", dest="as_json", action="store_true", help="Print one JSON document.")
    asked = parser.parse_args()
    found = [measure(path) for path in asked.files]
    if asked.as_json:
        json.dump([asdict(one) for one in found], sys.stdout, indent=2)
        return
    print(f"{'FILE':34}  MESSAGES  TEMPLATES  ACCURACY  SHUFFLED BY  MESSAGES/S")
    for one in found:
        print(
            f"{one.name:34}  {one.messages:>8}  {one.templates:>9}  {one.accuracy:>8.4f}  {one.shuffled:>11.4f}  "
            f"{one.per_second:>10,.0f}"
        )
    if len(found) > 1:
        mean, worst = sum(one.accuracy for one in found) / len(found), max(one.shuffled for one in found)
        print(f"{'mean':34}  {'':>8}  {'':>9}  {mean:>8.4f}  {worst:>11.4f}")


if __name__ == "__main__":
    main()
