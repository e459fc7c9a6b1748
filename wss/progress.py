"""Progress of long work: a tqdm bar on a terminal, one line a minute otherwise."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 60.0


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "image") -> Iterator[T]:
    """Yields `items` and shows how far they are: rate and time left, in `unit`s.

    Args:
        items: what is worked on, one after the other.
        what: a few words that open the line, such as "writing train".
        total: number of items; `len(items)` if it has a length, else unknown.
        unit: singular name of an item.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm.tqdm(items, desc=what, total=total, unit=f" {unit}s", dynamic_ncols=True)
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(progress_line(what, done, total, unit, now - start), file=sys.stderr, flush=True)
    print(progress_line(what, done, total, unit, time.monotonic() - start), file=sys.stderr, flush=True)


def progress_line(what: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """Returns such as "writing val: 120/222 images, 40.0 images/s, 3 s left"."""
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
