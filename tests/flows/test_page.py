"""The page of the flows says what the table says, and the table names what is there."""

import ast
import re

import pytest

from tests.conftest import REPOSITORY
from tests.flows import page
from tests.flows.table import FLOWS, built


def test_page_is_made_of_this_table():
    """The page in the repository is the one that `make flows` writes when everything holds."""
    everything_held = dict.fromkeys(page.all_tests(), True)
    assert page.PAGE.read_text() == page.render(everything_held), "run `make flows`"


def test_untested_flow_is_not_proven():
    """A test that did not run, or failed, proves nothing; what is not built never counts."""
    assert page.state_of(built()[0], {}) == page.FAILED
    later = next((flow for flow in FLOWS if not flow.is_built), None)
    assert later is None or page.state_of(later, {later.story: True}) == page.NOT_BUILT


@pytest.mark.parametrize("test", page.all_tests())
def test_named_test_exists(test):
    """A test that the table names is there."""
    path, _, rest = test.partition("::")
    name = rest.rpartition("::")[2]
    tree = ast.parse((REPOSITORY / path).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name.partition("[")[0] in names


def test_named_code_exists():
    """The files that a row names are there."""
    missing = [
        path
        for flow in built()
        for path in re.split(r",\s*", flow.code)
        if not ((REPOSITORY / path).exists() or (REPOSITORY / "execution" / path).exists())
    ]
    assert not missing
