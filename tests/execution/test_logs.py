"""Log lines carry run, step and attempt, and no secrets, wherever they are written."""

import json
import logging

import pytest
import structlog

from execution import logs, runs
from tests.execution import seen

SKILLS = "tests.skills,tests.execution.seen"


def test_secrets_of_keys():
    """A key that names a secret is hidden at any depth; a count of tokens is not."""
    event = {
        "event": "called",
        "password": "p",
        "tokens": 1830,
        "token": "t",
        "headers": {"Authorization": "Bearer abc", "x-api-key": "k", "accept": "json"},
        "list": [{"client_secret": "s"}],
        "cookie": "",
    }
    shown = logs.hide_secrets(None, "info", event)
    assert shown["password"] == shown["token"] == shown["headers"]["Authorization"] == logs.MASK
    assert shown["headers"]["x-api-key"] == shown["list"][0]["client_secret"] == logs.MASK
    assert (shown["tokens"], shown["headers"]["accept"], shown["cookie"]) == (1830, "json", "")


def test_secrets_in_sentences():
    """A password in an address and a bearer token in a sentence are hidden."""
    shown = logs.hide_secrets(None, "info", {"event": "to redis://me:pass@host/0 with Bearer abcdefgh12345"})
    assert shown["event"] == f"to redis://me:{logs.MASK}@host/0 with Bearer {logs.MASK}"


@pytest.mark.parametrize("form", ["json", "console"])
def test_formatter_forms(form):
    """Each form writes the sentence and what was attached; an error brings its traceback."""
    record = logging.LogRecord("some.where", logging.WARNING, __file__, 1, "said %s", ("so",), None)
    record.number = 3
    line = logs.formatter(form).format(record)
    assert "said so" in line
    if form == "json":
        assert json.loads(line)["number"] == 3


def test_formatter_of_an_error():
    """An error's traceback stands in its line, without the passwords of its addresses."""
    error = ValueError("no answer from amqp://me:secret@host//")
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), (type(error), error, None))
    said = json.loads(logs.formatter("json").format(record))
    assert "no answer" in said["exception"]
    assert "secret@" not in said["exception"]


@pytest.fixture
def other_project():
    """Be in a project that has never heard of structlog."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


def test_project_without_structlog_chooses_the_level(other_project, capfd, caplog):
    """Lines go through the project's own logs, below its level none, and nothing is printed beside them."""
    logs.write_as_others_do()
    log = structlog.get_logger("execution.somewhere")
    with caplog.at_level(logging.WARNING):
        log.debug("step.not_claimed", step="s")
        log.info("memory.evicted", count=2)
        log.warning("ledger.away", error="gone", token="t")
    assert caplog.messages == [f"event=ledger.away error=gone token={logs.MASK}"]
    assert caplog.records[0].name == "execution.somewhere"
    assert "step.not_claimed" not in "".join(capfd.readouterr())


def test_project_with_structlog_keeps_its_own(other_project):
    """What a project has set up is left alone."""
    structlog.configure(processors=[])
    logs.write_as_others_do()
    assert structlog.get_config()["processors"] == []


def test_form_that_is_unknown():
    """An unknown form is refused, with the known ones."""
    with pytest.raises(ValueError, match="auto, json, console"):
        logs.configuration(form="yaml")


def test_worker_lines(workers, eventually):
    """In a pool process every line of a skill is JSON with run, step and attempt; Celery's own are JSON too."""
    worker = workers("talker", skills=SKILLS, concurrency=1)
    run = runs.start(seen.talk)
    assert runs.wait(run, timeout=20) == "done"
    mine = eventually(lambda: lines if len(lines := _lines(worker, f'"run": "{run.id}"')) >= 3 else None)
    assert {line["event"] for line in mine} >= {"structured", "plain words", "by context"}
    assert all((line["step"], line["attempt"], line["level"] != "") == (str(run.id), 1, True) for line in mine)
    shown = {line["event"]: line for line in mine}
    assert (shown["structured"]["password"], shown["structured"]["tokens"]) == (logs.MASK, 7)
    assert shown["plain words"]["api_key"] == logs.MASK
    assert any("succeeded in" in line["event"] for line in _lines(worker, "celery.app.trace"))
    assert worker.stop() == 0


def _lines(worker, part):
    """Return the worker's JSON lines that contain a text."""
    return [json.loads(line) for line in worker.log().splitlines() if line.startswith("{") and part in line]
