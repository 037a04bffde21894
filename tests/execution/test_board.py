"""The board tells a keeper what each thread performs, and never half of it."""

import os
import threading
import uuid
from pathlib import Path

import pytest

from execution import board as boards
from execution.board import Board


@pytest.fixture
def board(monkeypatch):
    """Make a board that goes with the test."""
    made = Board.make(uuid.uuid4())
    monkeypatch.setenv(boards.ENVIRONMENT, str(made.path))
    yield made
    made.remove()


def test_slot_shows_what_is_performed(board):
    """What a thread shows is read back whole, and is gone when it is cleared."""
    step, attempt = uuid.uuid4(), uuid.uuid4()
    index = board.take_slot()
    board.show(index, step, 7, attempt, 12.5, alone=True)
    entry = board.read(index)
    assert (entry.claim, entry.attempt_id, entry.ends_at, entry.pid) == ((step, 7), attempt, 12.5, os.getpid())
    assert board.is_alone(index)
    assert board.performed() == [entry]
    board.clear(index)
    assert board.performed() == []
    assert not board.is_alone(index)


def test_other_opening_sees_the_same(board):
    """A second opening of the file is the same board."""
    other = Board(board.path)
    index = board.take_slot()
    other.ask_to_stop(index, boards.CONTROLS["cancel"])
    other.bar(index)
    board.drain()
    board.tell(has_lines=True, ready=12, processes=3)
    assert board.asked(index) == boards.CONTROLS["cancel"]
    assert board.is_barred(index)
    assert other.is_draining
    assert (other.has_lines, other.figures, other.worker_id) == (True, (12, 3), board.worker_id)


def test_new_claim_forgets_what_was_asked_and_not_the_bar(board):
    """What was asked of one step is not asked of the next; a barred slot stays barred."""
    index = board.take_slot()
    board.show(index, uuid.uuid4(), 1, uuid.uuid4())
    board.ask_to_stop(index, boards.CONTROLS["lost"])
    board.bar(index)
    board.show(index, uuid.uuid4(), 1, uuid.uuid4())
    assert board.asked(index) == 0
    assert board.is_barred(index)


def test_threads_get_slots_of_their_own(board):
    """Many threads that ask at once share none."""
    start, taken = threading.Barrier(16), []

    def take():
        start.wait()
        taken.append(board.take_slot())

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(16))


def test_ended_thread_leaves_its_slot_to_the_next(board):
    """Threads that come and go, as green ones do, do not use the board up."""
    seen = set()
    for _ in range(50):
        thread = threading.Thread(target=lambda: seen.add(boards.slot(board)))
        thread.start()
        thread.join()
    assert len(seen) == 1


def test_slot_of_a_dead_process_waits_for_its_keeper(board):
    """A slot whose holder died over a step is not taken before it was forgotten; an idle one is."""
    pid = os.fork()
    if pid == 0:
        index = board.take_slot()
        board.show(index, uuid.uuid4(), 1, uuid.uuid4())
        board.take_slot()
        os._exit(0)
    os.waitpid(pid, 0)
    (dead,) = board.performed()
    assert not boards.is_alive(dead.pid, dead.process_started)
    assert board.take_slot() == 1
    board.forget(dead)
    assert board.performed() == []
    assert board.take_slot() == 0
    assert board.performed() == []


def test_forgetting_spares_a_new_holder(board):
    """A keeper that is late does not wipe what another process shows in the same slot by now."""
    pid = os.fork()
    if pid == 0:
        board.show(board.take_slot(), uuid.uuid4(), 1, uuid.uuid4())
        os._exit(0)
    os.waitpid(pid, 0)
    (dead,) = board.performed()
    board.forget(dead)
    index = board.take_slot()
    board.show(index, uuid.uuid4(), 2, uuid.uuid4())
    board.forget(dead)
    assert [entry.index for entry in board.performed()] == [index]


def test_board_of_a_dead_worker_is_abandoned():
    """A board whose maker is gone is found; that of a living worker is not."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, str(Board.make(uuid.uuid4()).path).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    path = os.read(reading, 4096).decode()
    os.close(reading)
    os.close(writing)
    mine = Board.make(uuid.uuid4())
    try:
        found = {str(board.path) for board in boards.abandoned()}
        assert path in found
        assert str(mine.path) not in found
    finally:
        mine.remove()
        Path(path).unlink()


def test_process_is_known_by_its_start(board):
    """A process that was given another's number is not that process."""
    state, started = boards.look(os.getpid())
    assert state in "RS"
    assert boards.is_alive(os.getpid(), started)
    assert not boards.is_alive(os.getpid(), started - 1)
    assert not boards.is_stopped(os.getpid())
    assert boards.look(2**22 + 1) is None
