"""Folders for the library's tests."""

import pytest


@pytest.fixture
def store(tmp_path):
    """Return a store of the test's own."""
    return str(tmp_path / "store")


@pytest.fixture
def home(tmp_path):
    """Return a folder to read from."""
    place = tmp_path / "home"
    place.mkdir()
    return place


@pytest.fixture
def target(tmp_path):
    """Return a folder to deploy to, that is not there yet."""
    return tmp_path / "target"
