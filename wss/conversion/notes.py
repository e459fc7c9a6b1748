"""What a conversion notices that is no problem: counted in the workers, added up, and told at the end."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from wss.data.image_files import UPRIGHT
from wss.data.mask_colors import AUTO, IGNORE
from wss.data.masks import StoredMask
from wss.data.photos import PhotoNotes

BINARY = (0, IGNORE)
# Of one record file; masks whose palettes all differ are noticed after a few.
MAX_PALETTES = 16
MAX_SHARE_EMPTY = 0.5
_COUNTS = {
    "binary": (
        "{} of {masks} masks hold 0 and 255 only, and 255 is ignored; if it marks an object, write the id of its class "
        "instead; such as {example}"
    ),
    "photos_turned": "{} photos were turned by EXIF; their masks are taken as upright, such as that of {example}",
    "boxes_turned": "{} photos with boxes were turned by EXIF; their boxes are taken as upright, such as those of {example}",
    "reduced": "{} photos of 16 bits and more were reduced to 8 bits, such as {example}",
    "empty": "{} of {annotations} annotations cover no pixel, such as {example}",
}


@dataclasses.dataclass
class Notes:
    """Counts of what was noticed, with the first example of each.

    Attributes:
        counts: Numbers by what was noticed.
        examples: The first file of each.
        palettes: Of masks whose palettes did not count, by the palette in hexadecimal digits: the indices that occur, and
            an example.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: dict[str, str] = dataclasses.field(default_factory=dict)
    palettes: dict[str, tuple[list[int], str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, content: dict) -> "Notes":
        """Returns the notes of `content`."""
        palettes = {key: (list(used), example) for key, (used, example) in content.get("palettes", {}).items()}
        return cls(Counter(content.get("counts", {})), dict(content.get("examples", {})), palettes)

    def content(self) -> dict:
        """Returns what JSON can hold."""
        return {"counts": dict(self.counts), "examples": self.examples, "palettes": self.palettes}

    def add(self, other: "Notes") -> None:
        """Adds up the notes of another record file."""
        self.counts.update(other.counts)
        for kind, example in other.examples.items():
            self.examples.setdefault(kind, example)
        for palette, (used, example) in other.palettes.items():
            self._add_palette(palette, used, example)

    def count(self, kind: str, example: str = "", number: int = 1) -> None:
        """Counts something, such as "masks"."""
        self.counts[kind] += number
        if example:
            self.examples.setdefault(kind, example)

    def add_photo(self, path: str, photo: PhotoNotes) -> None:
        """Notes what became of a photo."""
        if photo.bits > 8:
            self.count("reduced", path)

    def add_mask(self, path: str, stored: StoredMask, pixels: Collection[int], *, photo_turned: int) -> None:
        """Notes how a mask was read.

        Args:
            path: Its file.
            stored: The mask as it was read.
            pixels: The classes that occur in it.
            photo_turned: EXIF orientation by which its photo was turned; 1 if it was upright.
        """
        self.count("masks")
        if photo_turned != UPRIGHT and stored.turned == UPRIGHT:
            self.count("photos_turned", path)
        if not stored.by_index:
            return
        # A mask may have more values than classes, as some are left out.
        if IGNORE in pixels and len(pixels) <= len(BINARY) and _used(stored.values) == list(BINARY):
            self.count("binary", path)
        if stored.palette is not None:
            self._add_palette(stored.palette.tobytes().hex(), _used(stored.values), path)

    def lines(self) -> list[str]:
        """Returns a line for each thing that a person should know."""
        return [
            text.format(self.counts[kind], example=self.examples.get(kind, ""), **self.counts)
            for kind, text in _COUNTS.items()
            if self.counts[kind]
        ]

    def problems(self, reading: str) -> Iterator[str]:
        """Yields a line for each thing that cannot be meant, which only all files together show.

        Args:
            reading: What counts in palette masks, see `mask_colors.meanings`.
        """
        if self.counts["empty"] > MAX_SHARE_EMPTY * self.counts["annotations"]:
            yield f"{_COUNTS['empty']}; expected outlines in pixels".format(
                self.counts["empty"], example=self.examples["empty"], **self.counts
            )
        if reading == AUTO and (found := _contradiction(self.palettes)):
            yield found

    def _add_palette(self, palette: str, used: list[int], example: str) -> None:
        if palette in self.palettes:
            before, first = self.palettes[palette]
            self.palettes[palette] = sorted({*before, *used}), first
        elif len(self.palettes) < MAX_PALETTES:
            self.palettes[palette] = used, example


def _used(values: np.ndarray) -> list[int]:
    return np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist()


def _contradiction(palettes: dict[str, tuple[list[int], str]]) -> str:
    """Says which two palettes have the same colour at different indices, as an editor leaves them; "" if none do."""
    seen: dict[str, tuple[int, str, str]] = {}
    for palette, (used, example) in palettes.items():
        color_at = lambda index, palette=palette: palette[6 * index : 6 * index + 6]
        for index in used:
            color = color_at(index)
            other_index, other_palette, other = seen.get(color, (index, palette, example))
            same = other_palette[6 * index : 6 * index + 6] == color or color_at(other_index) == color
            if other_index != index and color and not same:
                red, green, blue = bytes.fromhex(color)
                return (
                    f"{example}: the colour ({red}, {green}, {blue}) is {index} here and {other_index} in {other}; an "
                    "editor may have sorted their palettes anew. Give --class_names a file with the colours, or "
                    "--mask_values=index if the numbers are right"
                )
            seen.setdefault(color, (index, palette, example))
    return ""
