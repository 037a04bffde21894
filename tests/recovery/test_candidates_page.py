"""The page about candidates: what stands there is so."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from recovery import actions, weighing
from recovery.models import CandidateState

PAGE = (Path(__file__).parents[2] / "docs" / "candidates.md").read_text(encoding="utf-8")


def test_page_names_what_there_is():
    """Each state is in the diagram, each verb in the table, each row of numbers is what is computed."""
    assert {state for state in CandidateState.values if f"> {state}:" in PAGE} == set(CandidateState.values)
    assert {name for name in actions.KNOWN if f"`{name}`" in PAGE} == set(actions.KNOWN)
    rows = re.findall(r"\| (\d+) \| (\d+) \| [\d.]+ \| ([\d.]+) \|", PAGE)
    assert len(rows) == 5
    for recovered, tried, bound in rows:
        assert f"{weighing.lower_bound(int(recovered), int(tried)):.2f}" == bound


@pytest.mark.parametrize("line", sorted(set(re.findall(r"manage\.py (\w+ [a-z-]+)", PAGE))))
def test_commands_on_the_page_are_there(line):
    """Each command and its verb exist."""
    name, verb = line.split()
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    assert verb in next(one.choices for one in parser._actions if one.dest == "verb")
