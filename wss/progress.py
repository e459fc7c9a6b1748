"""Progress of long work: a tqdm bar on a terminal, one line a minute otherwise."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 60.0
USUAL_COLUMNS = 80


def track(items: Iterable[T], what: str, total: int | None = None, *, unit: str = "image") -> Iterator[T]:
    """Yields `items` and shows how far they are: rate and time left, in `unit`s.

    Args:
        items: What is worked on, one after the other.
        what: A few words that open the line, such as "writing train".
        total: Number of items; None takes `len(items)` if that is known.
        unit: Singular name of an item.

    Yields:
        The items.
    """
    if total is None and isinstance(items, Sized):
        with contextlib.suppress(TypeError):  # a tf.data.Dataset of unknown length
            total = len(items)
    if sys.stderr.isatty():
        # The bar of what goes on around it comes back below: two at a time would overwrite what is printed between them.
        for other in list(tqdm.tqdm._instances):
            other.clear()
        yield from tqdm.tqdm(items, desc=what, total=total, unit=f" {unit}s", position=0, **_width())
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(progress_line(what, done, total, unit=unit, seconds=now - start), file=sys.stderr, flush=True)
    seconds = time.monotonic() - start
    print(progress_line(what, done, total, unit=unit, seconds=seconds), file=sys.stderr, flush=True)


def _width() -> dict[str, Any]:
    """Returns what tells tqdm the width of the terminal; some say 0, as those of containers do, and would show nothing."""
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
    return {"dynamic_ncols": True} if columns else {"ncols": USUAL_COLUMNS}


def say(line: str) -> None:
    """Prints a line on stderr, above the bar if there is one."""
    tqdm.tqdm.write(line, file=sys.stderr)


def progress_line(what: str, done: int, total: int | None, *, unit: str, seconds: float) -> str:
    """Returns a line such as "writing val: 120/222 images, 40.0 images/s, 3 s left"."""
    rate = done / max(seconds, 1e-9)
    line = f"{what}: {done}{f'/{total}' if total else ''} {unit}s, {rate:.1f} {unit}s/s"
    return line + (f", {format_seconds((total - done) / max(rate, 1e-9))} left" if total and done < total else "")


def format_seconds(seconds: float) -> str:
    """Returns "42 s", "3 min 05 s" or "2 h 07 min"."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class TrainingProgress:
    """The progress of a training: a bar on a terminal, a line a minute (and a last one) otherwise.

    Args:
        first_step: Number of steps that were finished before this process began.
        num_steps: Number of steps of the whole run.
        images_per_step: Images of one step, of all streams and replicas.
    """

    def __init__(self, first_step: int, num_steps: int, images_per_step: int):
        self.first_step, self.num_steps, self.images_per_step = first_step, num_steps, images_per_step
        self.steps_per_second = 0.0
        self._start = self._last_line = self._last_update = time.monotonic()
        self._last_step = first_step
        self._bar = None
        if sys.stderr.isatty():
            # With `miniters` tqdm never draws it on its own, over the bar of an evaluation.
            self._bar = tqdm.tqdm(
                total=num_steps, initial=first_step, unit=" steps", desc="training", miniters=1, **_width()
            )

    def update(self, step: int, losses: dict[str, float]) -> None:
        """Shows that `step` steps are finished, with the mean losses of the last ones."""
        now = time.monotonic()
        rate = (step - self._last_step) / max(now - self._last_update, 1e-9)
        # The first steps compile; a moving average forgets them.
        self.steps_per_second = rate if not self.steps_per_second else 0.8 * self.steps_per_second + 0.2 * rate
        shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"{self.steps_per_second * self.images_per_step:.1f} images/s, {shown}", refresh=False
            )
            self._bar.update(step - self._last_step)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or step >= self.num_steps:
            self._last_line = now
            print(self._line(step, shown), file=sys.stderr, flush=True)
        self._last_step, self._last_update = step, now

    def _line(self, step: int, losses: str) -> str:
        rate = self.steps_per_second
        left = format_seconds((self.num_steps - step) / max(rate, 1e-9))
        return (
            f"step {step}/{self.num_steps}, {rate:.2f} steps/s, {rate * self.images_per_step:.1f} images/s, "
            f"{left} left, {losses}"
        )

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
