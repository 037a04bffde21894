"""Every test begins with an empty log, and remembers nothing of tables that are empty again."""

import pytest

from recovery import templates
from tests.execution.conftest import _nothing_connected, _nothing_remembered, hands, stage  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _no_templates():
    """Forget the templates of the last test."""
    yield
    templates.forget()
