"""Examples to begin a workflow from, each a YAML file beside this one, with comments and right as it stands."""

from __future__ import annotations

from importlib import resources

from execution.exceptions import OptionInvalid
from execution.workflows.expressions import nearest


def names() -> list[str]:
    """Return the names of the examples."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def text(example: str, name: str) -> str:
    """Return an example's text with the workflow's own name in it."""
    if example not in names():
        raise OptionInvalid(f"there is no template {example!r}{nearest(example, names())}")
    found = resources.files(__name__).joinpath(f"{example}.yaml").read_text(encoding="utf-8")
    return found.replace(f"name: {example}\n", f"name: {name}\n", 1)
