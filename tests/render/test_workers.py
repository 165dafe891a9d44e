"""Work beside the caller's: in order, bounded, and nothing is left behind."""

import contextlib
import itertools
import os
import signal
import threading
import time

import pytest
import torch

from sspnerf.errors import BackendError, UsageError
from sspnerf.render import workers
from sspnerf.render.workers import MOST_WAITING, Behind, check_jobs, in_order


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sspnerf-")]


@pytest.fixture(autouse=True)
def nothing_is_left():
    threads = torch.get_num_threads()
    yield
    assert our_threads() == []
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_answers_come_in_the_order_of_the_questions(jobs):
    def square(number):
        # Later ones are done sooner.
        time.sleep(0.02 / (1 + number % 7))
        return number**2

    assert list(in_order(square, range(30), jobs=jobs)) == [n**2 for n in range(30)]
    assert list(in_order(square, [], jobs=jobs)) == []


def test_two_jobs_work_at_the_same_time():
    both = threading.Barrier(2, timeout=10)
    assert sorted(in_order(lambda _: both.wait(), range(8), jobs=2)) == [0] * 4 + [1] * 4


def test_one_job_works_in_the_callers_thread_and_only_when_asked():
    asked = []
    answers = in_order(lambda n: asked.append((n, threading.current_thread())), range(9), jobs=1)
    assert asked == []
    next(answers)
    assert asked == [(0, threading.current_thread())]


def test_no_more_is_begun_than_may_wait():
    begun, asked = [], itertools.count()
    answers = in_order(begun.append, asked, jobs=2)
    next(answers)
    time.sleep(0.05)
    assert len(begun) <= next(asked) <= 2 + MOST_WAITING
    answers.close()


def test_an_error_comes_in_its_place_and_ends_the_work():
    done = []

    def run(number):
        if number == 3:
            raise UsageError("three is refused", "take another")
        done.append(number)
        return number

    answers = in_order(run, range(1000), jobs=2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="three is refused"):
        next(answers)
    assert len(done) < 20
    assert list(answers) == []


def test_an_error_of_the_questions_ends_the_work():
    def asked():
        yield 1
        raise UsageError("nothing more to ask")

    with pytest.raises(UsageError, match="nothing more to ask"):
        list(in_order(str, asked(), jobs=2))


def test_whoever_stops_to_listen_ends_the_work():
    done = []
    answers = in_order(done.append, itertools.count(), jobs=2)
    next(answers)
    answers.close()
    after = len(done)
    time.sleep(0.02)
    assert len(done) == after
    for _ in in_order(done.append, itertools.count(), jobs=2):
        break


@pytest.fixture
def hears_ctrl_c():
    """A program in the background does not, unless it says so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_the_work(jobs):
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(in_order(lambda _: time.sleep(0.02), range(500), jobs=jobs))
    finally:
        timer.join()
    assert our_threads() == []


def test_jobs_share_the_threads_of_torch(monkeypatch):
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: 7)
    asked = []
    monkeypatch.setattr(workers.torch, "set_num_threads", asked.append)
    assert check_jobs(None) == 7
    list(in_order(lambda _: time.sleep(0.02), range(6), jobs=3))
    assert asked == [2, 2, 2, 7]
    monkeypatch.undo()


def test_what_was_put_is_done_in_order_before_the_end():
    done = []

    def slowly(number):
        time.sleep(0.002)
        done.append(number)

    with Behind(slowly) as behind:
        for number in range(20):
            behind.put(number)
            assert number - len(done) <= MOST_WAITING + 2
    assert done == list(range(20))


def failing(number):
    if number == 2:
        raise OSError("disk full")


def put_all(run, numbers, *, every_s=0.0):
    with Behind(run) as behind:
        for number in numbers:
            behind.put(number)
            time.sleep(every_s)


def test_an_error_behind_is_raised_by_the_next_put_or_the_end():
    numbers = iter(range(100))
    with pytest.raises(OSError, match="disk full"):
        put_all(failing, numbers, every_s=0.001)
    assert next(numbers) < 10
    with pytest.raises(OSError, match="disk full"):
        put_all(failing, range(3))


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_while_the_end_is_waited_for_drops_what_waits():
    done = []

    def slowly(number):
        if number == 0:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        put_all(slowly, range(3))
    assert done == [0]


def test_an_error_in_front_drops_what_waits():
    done, begun, gate = [], threading.Event(), threading.Event()

    def wait(number):
        begun.set()
        gate.wait(10)
        done.append(number)

    with contextlib.suppress(KeyboardInterrupt), Behind(wait) as behind:
        for number in range(MOST_WAITING):
            behind.put(number)
        begun.wait(10)
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert done == [0]


@pytest.mark.refuses
def test_jobs_that_cannot_be_are_refused(monkeypatch):
    for jobs in (0, -1):
        with pytest.raises(UsageError, match=f"jobs is {jobs}; expected 1 or more"):
            check_jobs(jobs)
    assert check_jobs(3) == 3
    monkeypatch.setattr(workers, "_kernels_are_shared", lambda: False)
    assert check_jobs(None) == check_jobs(1) == 1
    with pytest.raises(BackendError, match="2 jobs cannot run here") as caught:
        check_jobs(2)
    assert "--jobs" in caught.value.hint
