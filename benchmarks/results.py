"""Turns what was measured into `benchmarks/results.json`: one object per figure that ours took part in.

Running some figures only (`--only`) replaces those and keeps the others, each with the date and the command of its own
measurement.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.figures import Figure, Series

PATH = ROOT / "benchmarks" / "results.json"
ROUNDED = 3

Result = dict[str, Any]


def of(figure: Figure, reached: Mapping[str, Series], *, circumstances: Mapping[str, object]) -> Result:
    """Return the object of one figure."""
    ours = reached["ours"]
    peers = {name: series.median for name, series in reached.items() if name != "ours"}
    return {
        "ours": round(ours.median, ROUNDED),
        "peers": {name: round(median, ROUNDED) for name, median in peers.items()},
        "target": figure.target.text,
        "met": figure.target.is_met(ours, peers),
        "unit": figure.unit,
        "better": figure.better,
        "ratios": {name: round(ours.median / median, ROUNDED) for name, median in peers.items()},
        "details": _details(ours),
        "spread": {name: _spread(series) for name, series in reached.items()},
        "versions": {name: series.versions for name, series in reached.items() if series.versions},
        **circumstances,
    }


def _details(ours: Series) -> Result:
    main = {"p99": ours.percentile(99), "worst": max(ours.values)} if len(ours.values) > 10 else {}
    further = {name: ours.of(name).median for name in ours.also}
    return {name: round(value, ROUNDED) for name, value in (main | further).items()}


def _spread(series: Series) -> Result:
    ends = {"lowest": min(series.values), "highest": max(series.values)}
    return {name: round(value, ROUNDED) for name, value in ends.items()} | {"values": len(series.values)}


def load(path: Path = PATH) -> dict[str, Result]:
    """Return what earlier measurements stored."""
    return json.loads(path.read_text()) if path.exists() else {}


def store(results: Mapping[str, Result], path: Path = PATH) -> None:
    """Write all results, those of earlier measurements included."""
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
