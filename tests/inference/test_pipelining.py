"""Look-ahead: order, bounds, and errors that reach the caller."""

import threading
import time

import pytest

from wss.errors import UserError
from wss.inference.pipelining import in_threads, one_behind


def logged(items, log):
    for item in items:
        log.append(f"ask {item}")
        yield item


def test_a_result_is_read_once_the_next_one_was_asked_for():
    log = []
    for result in one_behind(logged("abc", log)):
        log.append(f"read {result}")
    assert log == ["ask a", "ask b", "read a", "ask c", "read b", "read c"]


@pytest.mark.parametrize("items", [[], ["a"]])
def test_nothing_is_lost_of_short_streams(items):
    assert list(one_behind(items)) == list(in_threads(str, items)) == items


def test_results_come_in_order_though_the_first_takes_longest():
    def slow_at_first(item):
        time.sleep(0.2 if item == 0 else 0)
        return 10 * item

    assert list(in_threads(slow_at_first, range(20), threads=4)) == list(range(0, 200, 10))


def test_several_threads_work_at_once():
    both = threading.Barrier(2, timeout=10)
    assert list(in_threads(lambda item: both.wait() >= 0, range(2), threads=2)) == [True, True]


def test_items_are_taken_only_a_few_ahead():
    """While the first one is stuck, no more than three are taken."""
    log, stuck = [], threading.Event()
    results = in_threads(lambda item: stuck.wait(10) and item, logged(range(10), log), threads=2, ahead=3)
    thread = threading.Thread(target=lambda: log.append(f"read {next(results)}"))
    thread.start()
    while len(log) < 3:
        time.sleep(0.01)
    time.sleep(0.1)
    assert log == ["ask 0", "ask 1", "ask 2"]
    stuck.set()
    thread.join()
    assert log[3] == "read 0"


def test_an_error_in_a_thread_ends_the_work_and_reaches_the_caller():
    log = []

    def fail_at_two(item):
        if item == 2:
            raise UserError("b.png: cannot be written (No space left on device)")

    with pytest.raises(UserError, match="No space left"):
        list(in_threads(fail_at_two, logged(range(1000), log), threads=2, ahead=4))
    assert len(log) < 10


def test_what_has_begun_is_finished_when_the_items_fail():
    done = []

    def items():
        yield "a"
        raise UserError("a damaged record")

    def slowly(item):
        time.sleep(0.1)
        done.append(item)

    with pytest.raises(UserError, match="damaged"):
        list(in_threads(slowly, items(), threads=1))
    assert done == ["a"]
