"""How long a promise may take: the figure itself where the machine is quiet (`make chaos`), and more beside other work.

A story is told either way; only its bound differs. Where a fact of the ledger can be asked instead of a clock (what the
lease was, who had begun), the test asks for that.
"""

import pytest


def within(seconds, *, busy):
    """Run a test with its bound: this many seconds by `make chaos`, and `busy` ones beside other tests."""
    bounds = [pytest.param(busy, id="busy"), pytest.param(seconds, id="quiet", marks=pytest.mark.slow)]
    return pytest.mark.parametrize("bound", bounds)
