"""The label splits that papers publish: known by size and checksum, fetched from where they are published.

The lists themselves are other people's files and are not part of this project. `published_splits.json` says which paper each
is from, where its file lies, and the SHA-256 of its ids. So a list from anywhere is either the paper's or refused.
"""

import dataclasses
import functools
import http.client
import json
import re
import textwrap
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from wss.data.splits import checksum
from wss.errors import UserError, did_you_mean
from wss.tables import format_columns

MANIFEST = Path(__file__).with_name("published_splits.json")
TIMEOUT = 30  # seconds

# What a line holds is the id, or the name of the image's or the mask's file.
ID_PATTERNS = {
    "voc2012": r"(\d{4}_\d{6})(?:\.\w+)?",
    "coco": r"(\d{12})(?:\.\w+)?",
    "cityscapes": r"([a-z-]+_\d{6}_\d{6})(?:_leftImg8bit|_gtFine(?:_\w+)?)?(?:\.\w+)?",
}
ID_EXAMPLES = {"voc2012": "2007_000032", "coco": "000000000009", "cityscapes": "aachen_000000_000019"}


@dataclasses.dataclass(frozen=True)
class PublishedList:
    """One entry of the manifest.

    Attributes:
        name: Name as a user gives it, such as "voc_pseudoseg_1_8_183".
        dataset: Its data set: "voc2012", "coco" or "cityscapes".
        num_images: Number of its ids, all different.
        sha256: `checksum` of the ids.
        paper: The paper whose list it is.
        note: Warning of what is easily mistaken about it.
        repository: "owner/name" of the public GitHub repository that has the file; None if none has.
        path: Path of the file in the repository, or in the data set's own folder.
        where: Place of a list that no repository has, in words.
        rule: How to build it: {"cutmix_seed": seed, "of": name of the list of all ids}, or {"union": names of lists}.
    """

    name: str
    dataset: str
    num_images: int
    sha256: str
    paper: str
    note: str
    repository: str | None = None
    path: str | None = None
    where: str | None = None
    rule: dict = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> str:
        """Origin of the list, in words."""
        if self.repository:
            return f"{self.repository}: {self.path}"
        return ", ".join(filter(None, [self.path, self.where]))


@functools.cache
def load_manifest() -> dict[str, PublishedList]:
    """Returns all known lists by name."""
    content = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return {name: PublishedList(name=name, **fields) for name, fields in content.items()}


def published(name: str) -> PublishedList:
    """Returns the entry of a list; an unknown name is a `UserError`."""
    manifest = load_manifest()
    if name not in manifest:
        raise UserError(f"no published list {name!r}; --show_lists shows all.{did_you_mean(name, manifest)}")
    return manifest[name]


def identify(ids: Iterable[str]) -> list[str]:
    """Returns the names of the known lists that have exactly these ids."""
    found = checksum(ids)
    return [entry.name for entry in load_manifest().values() if entry.sha256 == found]


def parse_list(text: str, dataset: str) -> list[str]:
    """Reads the ids of a list, in any form in which such lists are published.

    A line has one image: its id, or the path of the image, and maybe that of the mask. It may also have several ids.
    A space, a tab or a comma lies between them; "#" begins a comment.

    Args:
        text: Content of the file.
        dataset: The data set whose ids to look for, a key of `ID_PATTERNS`.

    Raises:
        UserError: A line has something else in it.
    """
    ids: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        found: dict[str, None] = {}
        for field in re.split(r"[,\s]+", line.split("#")[0].strip()):
            match = re.fullmatch(ID_PATTERNS[dataset], field.rsplit("/", 1)[-1])
            if match:
                found[match[1]] = None  # image and mask of a line have the same id
            elif field:
                raise UserError(
                    f"line {number}: {field!r} is no {dataset} image; expected an id such as {ID_EXAMPLES[dataset]}, "
                    "or the path of its file"
                )
        ids += found
    return ids


def verify(ids: Sequence[str], name: str) -> None:
    """Raises a `UserError` that says what is wrong if these are not exactly the ids of a known list, in any order."""
    entry = published(name)
    doubled = [id for id, count in Counter(ids).items() if count > 1]
    if doubled:
        raise UserError(
            f"{name}: {len(doubled)} of the ids are doubled, such as {doubled[0]}; expected {entry.num_images} "
            f"different ones, as in {entry.place}"
        )
    if checksum(ids) == entry.sha256:
        return
    known = identify(ids)
    if known:
        raise UserError(f"{name}: these are the {len(ids)} images of {' = '.join(known)}, another list; {entry.note}")
    found = f"found {len(ids)} ids" if len(ids) != entry.num_images else f"{len(ids)} ids as expected, but other ones"
    raise UserError(
        f"{name}: {found} (checksum {checksum(ids)[:16]}); expected {entry.num_images} (checksum {entry.sha256[:16]}) "
        f"from {entry.place}"
    )


def cutmix_ids(train_ids: Iterable[str], seed: int, count: int) -> list[str]:
    """Returns the labelled images of French et al. (CutMix).

    The paper is "Semi-supervised semantic segmentation needs strong, varied perturbations". Its code sorts the names,
    shuffles them with `numpy.random.RandomState(split_seed)` and takes the first.

    Args:
        train_ids: Ids of all training images, 2975 for Cityscapes.
        seed: The split seed; 12345, 23456, 34567, 45678 or 56789 in their experiments.
        count: Number of labelled images; 100, 372 or 744 in their experiments.
    """
    names = sorted(train_ids)
    return [names[i] for i in np.random.RandomState(seed).permutation(len(names))[:count]]


def get_list(name: str, source: str | None, all_ids: Sequence[str] | None) -> list[str]:
    """Returns the ids of a known list, verified, in the order of its file or of its rule.

    Args:
        name: Name of the list.
        source: A file that has it, or a clone of its repository, or the folder in it. None computes the list where a
            rule is known and downloads it otherwise.
        all_ids: Ids of the images that a rule chooses from; None if there are none to choose from.

    Raises:
        UserError: The list cannot be had, or is not the published one.
    """
    entry = published(name)
    if "union" in entry.rule and (source is None or Path(source).is_dir()):
        ids = [id for part in entry.rule["union"] for id in get_list(part, source, all_ids)]
    elif source is not None:
        ids = _read(entry, source)
    elif "cutmix_seed" in entry.rule:
        if all_ids is None:
            raise UserError(f"{name}: is computed from the ids of {entry.rule['of']}; give a data set that has them")
        try:
            verify(all_ids, entry.rule["of"])
        except UserError as error:
            raise UserError(f"{name}: is chosen from all images of {entry.rule['of']}; {error}") from error
        ids = cutmix_ids(all_ids, entry.rule["cutmix_seed"], entry.num_images)
    else:
        ids = _download(entry)
    verify(ids, name)
    return ids


def _read(entry: PublishedList, source: str) -> list[str]:
    path = Path(source)
    if path.is_dir():
        if entry.path is None:
            raise UserError(f"--list_file={source}: a folder, but {entry.name} is {entry.place}; leave the flag out")
        parts = Path(entry.path).parts
        tails = (path.joinpath(*parts[start:]) for start in range(len(parts)))
        path = next((file for file in tails if file.is_file()), path)
        if path.is_dir():
            raise UserError(f"--list_file={source}: no {entry.path} in it; {_help(entry)}")
    try:
        return parse_list(path.read_text(encoding="utf-8"), entry.dataset)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--list_file={path}: cannot be read ({error}); {_help(entry)}") from error
    except UserError as error:
        raise UserError(f"--list_file={path}: {error}") from error


def _download(entry: PublishedList) -> list[str]:
    if entry.repository is None:
        raise UserError(f"{entry.name}: cannot be downloaded; {_help(entry)}")
    url = f"https://raw.githubusercontent.com/{entry.repository}/HEAD/{entry.path}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            text = response.read().decode()
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise UserError(f"{entry.name}: {url} cannot be downloaded ({error}); {_help(entry)}") from error
    try:
        return parse_list(text, entry.dataset)
    except UserError as error:
        raise UserError(f"{url}: {error}") from error


def _help(entry: PublishedList) -> str:
    if entry.repository:
        return f"get {entry.path} of https://github.com/{entry.repository} by hand; pass --list_file=<file or clone>"
    return f"expected {entry.place}; pass --list_file=<file or folder>" if entry.path else f"it is {entry.place}"


def describe(name: str | None = None) -> str:
    """Returns a table of all known lists, or what is known of one."""
    if name is not None:
        entry = published(name)
        return (
            f"{name}: {entry.num_images} images of {entry.dataset}\npaper:   {entry.paper}\nwhere:   {entry.place}\n"
            f"SHA-256: {entry.sha256} (sorted ids, joined by line feeds)\n{textwrap.fill(entry.note, 100)}"
        )
    rows = [("list", "images", "paper", "where")]
    rows += [(entry.name, str(entry.num_images), entry.paper, entry.place) for entry in load_manifest().values()]
    return format_columns(rows, "<><")
