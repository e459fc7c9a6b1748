"""Signals that ask a process to stop when it has saved."""

import signal
import sys
import threading

from wss.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes SIGTERM and Ctrl-C while it is open, in the main thread; a second Ctrl-C stops at once.

    Attributes:
        number: Number of the signal that came last; 0 if none came.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # there are no signals elsewhere
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _) -> None:
        self.number = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            print("\nstopping after the steps that are running; Ctrl-C again stops without saving", file=sys.stderr)


def end(number: int, saved: str) -> None:
    """Tells that a signal has stopped the process: an `Interrupted` for Ctrl-C, a line for SIGTERM.

    Args:
        number: Number of the signal.
        saved: Words on what was saved.
    """
    if number == signal.SIGINT:
        raise Interrupted(f"stopped by Ctrl-C {saved}")
    print(f"stopped by {signal.Signals(number).name} {saved}")
