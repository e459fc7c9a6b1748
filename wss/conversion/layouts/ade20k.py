"""The layout of the scene parsing benchmark of ADE20K: two folders of images and of masks, and a list of 150 classes."""

from etils import epath

from wss.conversion.sources import Source
from wss.data.masks import files_by_id
from wss.data.names import is_name
from wss.data.text_files import read_text
from wss.errors import UserError

NUM_CLASSES = 150
FOLDER = "ADEChallengeData2016"
SPLITS = ("training", "validation")
NAME_LIST = "objectInfo150.txt"
ARCHIVE = f"{FOLDER}.zip from sceneparsing.csail.mit.edu"

# The colours of the benchmark's own pictures (color150.mat of its development kit); road and skyscraper share one.
_HEX_COLORS = (
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 "
    "ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff "
    "08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff "
    "eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff "
    "0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad "
    "0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 "
    "00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa "
    "8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 "
    "ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff "
    "00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff "
)
COLORS = tuple(tuple(bytes.fromhex(color)) for color in _HEX_COLORS.split())


def find_root(root: str) -> epath.Path:
    """Returns the folder that has images and annotations: `root`, or ADEChallengeData2016 in it.

    Raises:
        UserError: It is neither.
    """
    for folder in (epath.Path(root), epath.Path(root) / FOLDER):
        if (folder / "images").is_dir() and (folder / "annotations").is_dir():
            return folder
    raise UserError(
        f"--ade20k_root={root}: no folders images and annotations in it; expected what {ARCHIVE} unpacks to"
    )


def read_classes(root: epath.Path) -> list[str]:
    """Returns the names of values 1 .. 150 of the masks: the first synonyms, such as "building" of "building, edifice".

    The columns of the list are separated by tabs, and its first line names them: Idx, ..., Name.

    Raises:
        UserError: There is no list, or it is not one of 150 different names in order.
    """
    path = root / NAME_LIST
    if not path.exists():
        raise UserError(f"{path}: missing; expected that of {ARCHIVE}")
    content = read_text(path)
    try:
        header, *lines = [line.split("\t") for line in content.splitlines() if line.strip()]
        number, name = header.index("Idx"), header.index("Name")
        numbers = [int(line[number]) for line in lines]
        names = [line[name].split(",")[0].strip() for line in lines]
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: not the list of classes ({error}); expected that of {ARCHIVE}") from error
    if numbers != list(range(1, NUM_CLASSES + 1)):
        raise UserError(f"{path}: {len(lines)} classes; expected those of Idx 1 .. {NUM_CLASSES} in order")
    if wrong := next((name for name in names if not is_name(name)), None):
        raise UserError(f"{path}: {wrong[:60]!r} can be no name of a class; expected the list of {ARCHIVE}")
    if len(set(names)) < len(names):
        raise UserError(
            f"{path}: {max(names, key=names.count)!r} is the name of two classes; expected the list of {ARCHIVE}"
        )
    return names


def read_split(root: epath.Path, split: str, problems: list[str]) -> list[Source]:
    """Lists the images of a split.

    Args:
        root: Folder that has images and annotations.
        split: One of `SPLITS`.
        problems: List to which a line is added for each image or mask that misses its partner.

    Raises:
        UserError: The folder of the images or of the masks is missing or empty.
    """
    images, masks = _files(root / "images" / split, ".jpg"), _files(root / "annotations" / split, ".png")
    problems += [
        f"{path}: no mask for it; expected {id}.png in {root / 'annotations' / split}, from {ARCHIVE}"
        for id, path in images.items()
        if id not in masks
    ]
    problems += [
        f"{path}: a mask without an image in {root / 'images' / split}; unpack {FOLDER}.zip again"
        for id, path in masks.items()
        if id not in images
    ]
    return [Source(id, path, masks.get(id)) for id, path in images.items()]


def _files(folder: epath.Path, suffix: str) -> dict[str, str]:
    files = files_by_id(folder, suffix) if folder.is_dir() else {}
    if not files:
        what = f"no *{suffix} in it" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; expected the files of {ARCHIVE}")
    return files
