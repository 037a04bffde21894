"""Fingerprints: the same cause has the same one, whatever else is in the traceback."""

import asyncio
import time
import traceback

import pytest
from celery.exceptions import Retry
from hypothesis import given
from hypothesis import strategies as st

from execution import performing
from recovery import fingerprints
from recovery.fingerprints import Stack, module_of, stack_of

APP = "/srv/app/shop/orders.py"
LIBRARY = "/usr/local/lib/python3.11/site-packages/httpx/_client.py"
OURS = "/opt/celeriac/execution/performing.py"
STANDARD = "/usr/local/lib/python3.11/json/decoder.py"


def error(text, message="no", name="ParserError", module="shop.errors"):
    """Return an error as the ledger keeps it."""
    return {"kind": "unknown", "type": name, "module": module, "message": message, "traceback": text}


def raised(function, *given):
    """Return what the ledger keeps of what a function raises."""
    try:
        function(*given)
    except (ArithmeticError, LookupError, ValueError, RecursionError, ExceptionGroup) as found:
        return performing.described(found, "unknown")
    raise AssertionError


HEAD = "Traceback (most recent call last):\n"
PLAIN = f"""{HEAD}  File "{OURS}", line 412, in _outcome
    return task.run(context)
  File "{APP}", line 10, in place
    check(order)
  File "{LIBRARY}", line 1, in send
    raise exc
  File "/srv/app/shop/checks.py", line 7, in check
    raise ParserError(order)
shop.errors.ParserError: no
"""
# The same as 3.11 to 3.13 write it: carets below, a note behind, several lines of source, another line number.
CARETS = f"""{HEAD}  File "{OURS}", line 498, in _outcome
    return task.run(context)
           ^^^^^^^^^^^^^^^^^
  File "{APP}", line 12, in place
    check(order)
    ~~~~~^^^^^^^
  File "{LIBRARY.replace("3.11", "3.13")}", line 99, in send
    raise exc
  File "/srv/app/shop/checks.py", line 8, in check
    raise ParserError(
    ...<2 lines>...
    )
shop.errors.ParserError: no
order 12 of 30
"""
NO_SOURCE = f"""{HEAD}  File "{APP}", line 12, in place
  File "/srv/app/shop/checks.py", line 8, in check
shop.errors.ParserError: no
"""
ELSEWHERE = PLAIN.replace("/srv/app/", "C:\\Users\\ann\\work\\").replace(
    "/usr/local/lib/python3.11", "C:\\Python311\\Lib"
)
CAUSED = f"""{HEAD}  File "{APP}", line 3, in fetch
    get()
ConnectionError: refused

The above exception was the direct cause of the following exception:

{PLAIN}"""
HANDLED = CAUSED.replace(
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
CUT = '  File "/srv/app/old/deep.py", line 4, in dive\n    dive()\n' + CAUSED.partition("ConnectionError")[2]
WANTED = Stack(frames=("shop.orders:place", "shop.checks:check"))


@pytest.mark.parametrize(
    "text", [PLAIN, CARETS, NO_SOURCE, ELSEWHERE, CAUSED, HANDLED, CUT],
    ids=["3.11", "3.13", "no source", "elsewhere", "cause", "context", "cut"],
)  # fmt: skip
def test_same_stack(text):
    """Only in-app frames of the raised error count, by module and function."""
    assert stack_of(error(text)) == WANTED


def test_cause_tells_where_the_error_itself_is_outside():
    """An error that was raised outside the app is known by the cause's frames."""
    outside = f'{HEAD}  File "{LIBRARY}", line 1, in send\n    raise\nhttpx.ReadError: no\n'
    text = CAUSED.replace(PLAIN, outside)
    assert stack_of(error(text, name="ReadError", module="httpx")) == Stack(frames=("shop.orders:fetch",))


def test_nothing_in_app():
    """A stack outside the app, and one that was cut away, leave the message to tell."""
    for text in (f'{HEAD}  File "{STANDARD}", line 1, in decode\nValueError: no\n', "", "ValueError: no", "x" * 12_000):
        assert stack_of(error(text)) == Stack()


def test_message_that_looks_like_a_traceback():
    """What an error says has no frames, also where it holds a traceback of another process."""
    remote = f'remote failed:\n{HEAD}  File "/srv/app/far/away.py", line 1, in far\n    far()\nKeyError: 1'
    text = PLAIN.replace("ParserError: no\n", f"ParserError: {remote}\n")
    assert stack_of(error(text, message=remote)) == WANTED


def test_recursion_is_one_frame():
    """However deep it went, and in circles of two as well, a recursion has one fingerprint."""

    def down(depth):
        return down(depth - 1) if depth else 1 / 0

    def ping(depth):
        return pong(depth - 1)

    def pong(depth):
        return ping(depth - 1) if depth > 0 else 1 / 0

    for function, depths in ((down, (1, 3, 50, 500)), (ping, (2, 10, 30))):
        stacks = {stack_of(raised(function, depth)) for depth in depths}
        assert len(stacks) == 1, stacks
    endless = stack_of(raised(lambda: down(-1)))
    assert endless.frames[-1].endswith(":down")


def test_comprehension_has_no_frame():
    """Python 3.12 has no frame for a comprehension; earlier ones have."""
    with_frame = PLAIN.replace(
        '  File "/srv/app/shop/checks', f'  File "{APP}", line 11, in <listcomp>\n    x\n  File "/srv/app/shop/checks'
    )
    assert stack_of(error(with_frame)) == WANTED


def fail(kind):
    """Fail in a frame of its own."""
    raise kind("sub")


async def _grouped(kinds):
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            group.create_task(_failing(kind))


async def _failing(kind):
    await asyncio.sleep(0)
    fail(kind)


def test_exception_group():
    """A group is known by its own frames and the types that it holds, however many there are of each."""

    def run(*kinds):
        return stack_of(raised(lambda: asyncio.run(_grouped(kinds))))

    one, three, mixed = run(ValueError), run(ValueError, ValueError, ValueError), run(ValueError, KeyError)
    assert one == three
    assert one.leaves == ("ValueError",)
    assert mixed.leaves == ("KeyError", "ValueError")
    assert "test_fingerprints:_grouped" in " ".join(one.frames)


def test_nested_groups():
    """Groups in groups are their leaves."""

    def nested():
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("a"), OSError("b")]), TypeError("c")])

    found = stack_of(raised(nested))
    assert found.leaves == ("OSError", "TypeError", "ValueError")
    assert found.frames[-1].endswith(":nested")


def test_notes_and_long_messages():
    """Notes, and messages of any length, change nothing as long as a frame is kept."""

    def noted(text):
        found = ValueError(text)
        found.add_note('  File "/srv/app/a/b.py", line 1, in note')
        raise found

    assert stack_of(raised(noted, "short")) == stack_of(raised(noted, "long " * 500))


def test_celery_retry_that_wraps():
    """Celery's Retry is told by what made it, which was never raised: a message without a stack."""
    kept = performing.described(Retry("later", exc=ConnectionError("refused")), "transient")
    assert (fingerprints.type_of(kept), stack_of(kept)) == ("ConnectionError", Stack())


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("/srv/app/shop/orders.py", "shop.orders"),
        ("/srv/app/shop/__init__.py", "shop"),
        ("/releases/20260101/tasks.py", "tasks"),
        ("C:\\work\\shop\\orders.py", "shop.orders"),
        ("<string>", "<string>"),
        ("<ipython-input-3-4ac1f0>", "<ipython-input-*-*>"),
        ("orders.py", "orders"),
    ],
)
def test_module(path, module):
    """A module is the file with the package around it, wherever that is installed."""
    assert module_of(path) == module


def test_what_counts():
    """Type, frames and skill each tell two errors apart; a message's template and type do where there is no stack."""
    of = fingerprints.of_stack
    assert (
        len({of("A", WANTED, "s"), of("B", WANTED, "s"), of("A", Stack(frames=("x:y",)), "s"), of("A", WANTED, "t")})
        == 4
    )
    assert fingerprints.of_message("A", "d") != fingerprints.of_message("B", "d") != fingerprints.of_message("B", "e")
    assert fingerprints.of_parking("budget", "s") != fingerprints.of_parking("effect", "s")


def test_version_one_never_changes():
    """A stored fingerprint is a contract: whoever changes how it is made gives it a new version."""
    assert (
        fingerprints.of_stack("shop.errors.ParserError", WANTED, "shop.place")
        == "0567595b46e2de22bd13ab2f371a7f7ee10cc898"
    )
    assert fingerprints.of_message("WorkerLost", "d1") == "87940d9742064e5c877fbfdccf4419a7c101bd60"


@given(
    st.lists(st.integers(1, 99_999), min_size=2, max_size=2),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60),
)
def test_lines_and_sources_never_count(lines, source):
    """No line number and no line of source changes a stack."""
    text = f"""{HEAD}  File "{APP}", line {lines[0]}, in place
    {source}
    ^^^^
  File "/srv/app/shop/checks.py", line {lines[1]}, in check
    {source}
shop.errors.ParserError: no
"""
    assert stack_of(error(text)) == WANTED


@given(st.text(max_size=400))
def test_any_text_is_parsed(text):
    """Whatever stands in a traceback, it is parsed and has no effect on the process."""
    assert isinstance(stack_of(error(text, message=text)), Stack)
    assert isinstance(stack_of({"traceback": HEAD + text}), Stack)


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 12_000,
        " \n|" * 4_000,
        "  + Exception Group Traceback (most recent call last):\n  +-+---------------- 1 ----------------\n"
        + " " * 11_800,
    ],
)
def test_no_traceback_takes_long(text):
    """What a message of blanks leaves of a traceback is gone over once: a thousand such must not stop the intake."""
    began = time.process_time()
    assert stack_of({"traceback": text}) == Stack()
    assert time.process_time() - began < 0.05


def test_as_this_python_writes_it():
    """A real traceback of this Python has the frames that were called."""
    kept = raised(fail, ValueError)
    assert "Traceback" in kept["traceback"]
    assert stack_of(kept).frames == ("recovery.test_fingerprints:raised", "recovery.test_fingerprints:fail")
    assert traceback.format_exc() == "NoneType: None\n"
