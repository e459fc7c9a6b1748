"""Published lists: the papers' lists are recognised, anything else is refused by name, from a file or from the net."""

import hashlib
import io
import re
import urllib.error
import urllib.request

import pytest

from wss.data import published_splits as lists
from wss.data.published_splits import cutmix_ids, describe, get_list, identify, load_manifest, parse_list, verify
from wss.data.splits import checksum
from wss.errors import UserError

NAMES = sorted(load_manifest())
FOLDERS = {"voc2012": "pascal_voc", "coco": "coco", "cityscapes": "cityscapes"}
PAIR = ["2007_000032", "2007_000039"]
OTHERS = ["2007_000063", "2007_000068"]


def file_of(shared, name):
    return shared / "splits" / FOLDERS[lists.published(name).dataset] / f"{name.split('_', 1)[1]}.txt"


def shared_ids(shared, name) -> list[str]:
    return file_of(shared, name).read_text().split()


@pytest.fixture
def manifest(monkeypatch) -> None:
    """A manifest of small lists: a pair, two others, their union, and one that is drawn from the union."""

    def entry(name, ids, **fields):
        digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
        return lists.PublishedList(name, "voc2012", len(ids), digest, "A paper", f"Beware of {name}.", **fields)

    entries = [
        entry("pair", PAIR, repository="someone/masks", path="splits/2/labeled.txt"),
        entry("others", OTHERS, repository="someone/masks", path="splits/3/labeled.txt"),
        entry("all", PAIR + OTHERS, where="both", rule={"union": ["pair", "others"]}),
        # RandomState(0).permutation(4) is 2, 3, 1, 0.
        entry("drawn", OTHERS + PAIR[1:], where="computed", rule={"cutmix_seed": 0, "of": "all"}),
        entry("devkit", PAIR + OTHERS[:1], path="ImageSets/train.txt", where="in the devkit"),
    ]
    monkeypatch.setattr(lists, "load_manifest", lambda: {entry.name: entry for entry in entries})


@pytest.fixture
def web(monkeypatch) -> dict[str, bytes]:
    """The internet: what is not among these pages is not found."""
    pages: dict[str, bytes] = {}

    def urlopen(url, timeout):
        assert 0 < timeout <= 60
        if url not in pages:
            raise urllib.error.HTTPError(url, 404, "Not Found", None, None)
        return io.BytesIO(pages[url])

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return pages


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_the_paper_verifies(shared, name):
    entry = lists.published(name)
    ids = parse_list(file_of(shared, name).read_text(), entry.dataset)
    verify(ids, name)
    assert len(ids) == entry.num_images and name in identify(ids)
    assert get_list(name, str(file_of(shared, name)), None) == ids


def test_every_list_is_in_the_manifest(shared):
    files = sorted((shared / "splits").glob("*/*.txt"))
    assert len(files) == len(NAMES) == 49
    assert {file_of(shared, name) for name in NAMES} == set(files)


def test_checksums_begin_as_in_the_table(shared):
    rows = re.findall(r"^\| (\S+) \| (\d+) \| ([0-9a-f]{16}) \|$", (shared / "splits" / "HASHES.md").read_text(), re.M)
    table = {list_name: (int(count), digits) for list_name, count, digits in rows}
    assert len(table) == 49
    for name in NAMES:
        entry, file = lists.published(name), file_of(shared, name)
        assert table[f"{file.parent.name}/{file.stem}"] == (entry.num_images, entry.sha256[:16]), name


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_whole(name):
    entry = load_manifest()[name]
    assert re.fullmatch("[0-9a-f]{64}", entry.sha256) and entry.num_images > 0
    assert entry.paper and entry.note and entry.dataset in lists.ID_PATTERNS
    assert bool(entry.repository and entry.path) != bool(entry.where)
    assert entry.repository is None or re.fullmatch(r"[\w-]+/[\w-]+", entry.repository)
    mentioned = set(re.findall(r"\b(?:voc|coco|cityscapes)_\w+", entry.note)) | {entry.rule.get("of", name)}
    assert mentioned | set(entry.rule.get("union", [])) <= set(NAMES)
    assert (
        any(name.endswith(end) for end in (str(entry.num_images), "_labeled", "_unlabeled", "_val")) or "coco" in name
    )


def test_the_two_lists_of_732_are_told_apart(shared):
    theirs, other = shared_ids(shared, "voc_pseudoseg_1_2_732"), shared_ids(shared, "voc_u2pl_1_2_732")
    assert len(set(theirs) & set(other)) == 371
    with pytest.raises(
        UserError, match="^voc_pseudoseg_1_2_732: these are the 732 images of voc_u2pl_1_2_732, another"
    ):
        verify(other, "voc_pseudoseg_1_2_732")
    with pytest.raises(UserError, match="^voc_u2pl_1_2_732: .* of voc_pseudoseg_1_2_732, another list; There are two"):
        verify(theirs, "voc_u2pl_1_2_732")


@pytest.mark.parametrize("name", ["voc_pseudoseg_1_8_183", "coco_pseudoseg_1_512", "cityscapes_u2pl_186"])
def test_a_changed_list_is_refused_by_name(shared, name):
    ids = shared_ids(shared, name)
    count = len(ids)
    verify(ids[::-1], name)
    with pytest.raises(UserError, match=f"^{name}: {count} ids as expected, but other ones"):
        verify([*ids[:-1], "2012_000000"], name)
    with pytest.raises(UserError, match=f"^{name}: found {count - 1} ids .*; expected {count}"):
        verify(ids[:-1], name)
    with pytest.raises(UserError, match=f"^{name}: 1 of the ids are doubled, such as {ids[0]}; expected {count}"):
        verify([*ids[:-1], ids[0]], name)


@pytest.mark.parametrize("name", [name for name in NAMES if "cutmix" in name])
def test_the_lists_of_french_et_al_are_computed_in_their_order(shared, name):
    assert get_list(name, None, shared_ids(shared, "cityscapes_train2975")[::-1]) == shared_ids(shared, name)


def test_the_facts_that_the_notes_state(shared):
    ids = {name: set(shared_ids(shared, name)) for name in NAMES}

    def common(first, second):
        return len(ids[first] & ids[second])

    assert common("voc_pseudoseg_1_16_s1_92", "voc_pseudoseg_1_8_183") == 9
    assert common("voc_pseudoseg_1_8_183", "voc_pseudoseg_1_4_366") == 42
    splits = [f"voc_pseudoseg_1_16_s{k}_92" for k in (1, 2, 3)]
    assert sorted(common(splits[i], splits[j]) for i, j in ((0, 1), (0, 2), (1, 2))) == [4, 6, 8]
    assert ids["voc_u2pl_blender_662"] < ids["voc_u2pl_blender_1323"] < ids["voc_train1464"]
    assert ids["voc_u2pl_blender_1323"] < ids["voc_u2pl_blender_2646"] & ids["voc_u2pl_blender_5291"]
    assert ids["voc_train1464"] < ids["voc_u2pl_blender_2646"] & ids["voc_u2pl_blender_5291"]
    assert common("voc_u2pl_blender_2646", "voc_u2pl_blender_5291") == 1978
    assert ids["voc_train_aug10582"] - ids["voc_train1464"] == ids["voc_aug_minus_train9118"]
    assert ids["coco_pseudoseg_1_512"] < ids["coco_pseudoseg_1_32"]
    assert common("coco_pseudoseg_1_64", "coco_pseudoseg_1_32") == 58
    for seed in (12345, 23456, 34567, 45678, 56789):
        first, second, third = (ids[f"cityscapes_cutmix_seed{seed}_{count}"] for count in (100, 372, 744))
        assert first < second < third < ids["cityscapes_train2975"]
    assert common("cityscapes_u2pl_186", "cityscapes_u2pl_372") == 28
    assert common("cityscapes_u2pl_372", "cityscapes_u2pl_744") == 81
    assert common("cityscapes_u2pl_744", "cityscapes_stpp_split0_744") == 190
    assert ids["cityscapes_stpp_split0_744"] < ids["cityscapes_u2pl_1488"]
    assert ids["cityscapes_dars_split8_372"] < ids["cityscapes_dars_split4_744"]
    assert common("cityscapes_dars_split8_372", "cityscapes_u2pl_372") == 38
    for same in (
        ["voc_dars_1464_labeled", "voc_train1464"],
        ["voc_aug_minus_train9118", "voc_dars_9118_unlabeled"],
        ["voc_dars_val", "voc_val1449"],
        ["cityscapes_stpp_split0_372", "cityscapes_u2pl_372"],
    ):
        assert sorted(identify(ids[same[0]])) == same


def test_the_checksum_is_that_of_the_sorted_ids():
    expected = "f4963b6b0324ac3a3dd0b7498a470644f869d5bf53108804cc6ad70512101c23"
    assert checksum(["2007_000039", "2007_000032"]) == checksum(iter(["2007_000032", "2007_000039"])) == expected


def test_the_first_of_a_shuffle_are_taken():
    assert cutmix_ids(["d", "b", "a", "c"], seed=0, count=3) == ["c", "d", "b"]  # the permutation is 2, 3, 1, 0


LINES = {
    "bare": ("voc2012", "2007_000032\n2007_000039\n", PAIR),
    "Windows": ("voc2012", "2007_000032\r\n2007_000039", PAIR),
    "byte order mark": ("voc2012", "\ufeff2007_000032\n2007_000039\n", PAIR),
    "comments": ("voc2012", "# 1/16\n\n2007_000032  # a plane\n   \n2007_000039\n", PAIR),
    "one line": ("voc2012", "2007_000032, 2007_000039\n", PAIR),
    "UniMatch": ("voc2012", "JPEGImages/2007_000032.jpg SegmentationClass/2007_000032.png\n", PAIR[:1]),
    "DARS": ("voc2012", "JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png \n", PAIR[:1]),
    "slash": ("voc2012", "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n", PAIR[:1]),
    "comma": ("voc2012", "JPEGImages/2007_000032.jpg,SegmentationClass/2007_000032.png\n", PAIR[:1]),
    "wss": ("coco", "train2017/000000177254\ntrain2017/000000000009\n", ["000000177254", "000000000009"]),
    "masks": ("coco", "train2017/000000000009.jpg masks/000000000009.png\n", ["000000000009"]),
    "U2PL": ("cityscapes", "leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png\n", ["ulm_000079_000019"]),
    "ST++": (
        "cityscapes",
        "leftImg8bit/train/ulm/ulm_000079_000019_leftImg8bit.png "
        "gtFine/train/ulm/ulm_000079_000019_gtFine_labelTrainIds.png\n",
        ["ulm_000079_000019"],
    ),
    "CPS": (
        "cityscapes",
        "/images/train/jena_000078_000019.png\t/segmentation/train/jena_000078_000019_gtFine.png\n",
        ["jena_000078_000019"],
    ),
    "bare cities": ("cityscapes", "jena_000078_000019\nulm_000079_000019", ["jena_000078_000019", "ulm_000079_000019"]),
    "doubled": ("voc2012", "2007_000032\n2007_000032\n", ["2007_000032"] * 2),
    "empty": ("voc2012", "", []),
}


@pytest.mark.parametrize("form", LINES)
def test_a_line_is_read_in_every_published_form(form):
    dataset, text, expected = LINES[form]
    assert parse_list(text, dataset) == expected


@pytest.mark.parametrize(
    ("dataset", "line"),
    [
        ("voc2012", "2007_000032 -1"),  # a list of the devkit's ImageSets/Main: with the class, or without
        ("voc2012", "train2017/000000000009.jpg"),
        ("voc2012", "2007_0000321"),
        ("coco", "2007_000032"),
        ("coco", "9"),
        ("cityscapes", "leftImg8bit/train/ulm"),
        ("cityscapes", "<!DOCTYPE html>"),
    ],
)
def test_a_line_of_something_else_is_refused(dataset, line):
    field = line.split()[-1] if "-1" in line else line.split()[0]
    with pytest.raises(
        UserError, match=f"^line 2: {re.escape(repr(field))} is no {dataset} image; expected an id such"
    ):
        parse_list(f"\n{line}\n", dataset)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no published list 'voc_u2pl_1_2'.* Did you mean 'voc_u2pl_1_2_732'"):
        get_list("voc_u2pl_1_2", None, None)


@pytest.mark.parametrize("folder", ["", "splits", "splits/2"])
def test_a_list_is_found_in_a_clone_or_a_folder_of_it(manifest, tmp_path, folder):
    file = tmp_path / "splits" / "2" / "labeled.txt"
    file.parent.mkdir(parents=True)
    file.write_text("2007_000039\n2007_000032\n")
    assert get_list("pair", str(tmp_path / folder), None) == PAIR[::-1]
    assert get_list("pair", str(file), None) == PAIR[::-1]


def test_a_folder_without_the_list_is_refused(manifest, tmp_path):
    with pytest.raises(
        UserError, match="no splits/2/labeled.txt in it; get splits/2/labeled.txt of https://.*/masks by"
    ):
        get_list("pair", str(tmp_path), None)
    with pytest.raises(UserError, match="no ImageSets/train.txt in it; expected ImageSets/train.txt, in the devkit"):
        get_list("devkit", str(tmp_path), None)
    with pytest.raises(UserError, match="a folder, but drawn is computed; leave the flag out"):
        get_list("drawn", str(tmp_path), None)


def test_a_file_that_is_no_such_list_is_refused(manifest, tmp_path):
    file = tmp_path / "list.txt"
    with pytest.raises(UserError, match="list.txt: cannot be read .*No such file.*--list_file=<file or clone>"):
        get_list("pair", str(file), None)
    file.write_bytes(b"\xff\xfe2\x00")
    with pytest.raises(UserError, match="list.txt: cannot be read"):
        get_list("pair", str(file), None)
    file.write_text("2007_000032\ncat.jpg\n")
    with pytest.raises(UserError, match="list.txt: line 2: 'cat.jpg' is no voc2012 image"):
        get_list("pair", str(file), None)
    file.write_text("\n".join(OTHERS))
    with pytest.raises(UserError, match="^pair: these are the 2 images of others, another list; Beware of pair"):
        get_list("pair", str(file), None)
    file.write_text("")
    with pytest.raises(UserError, match="^pair: found 0 ids"):
        get_list("pair", str(file), None)


def test_a_list_is_downloaded(manifest, web):
    web["https://raw.githubusercontent.com/someone/masks/HEAD/splits/2/labeled.txt"] = b"2007_000039\r\n2007_000032"
    assert get_list("pair", None, None) == PAIR[::-1]


def test_a_download_of_another_list_is_refused(manifest, web):
    url = "https://raw.githubusercontent.com/someone/masks/HEAD/splits/2/labeled.txt"
    web[url] = "\n".join(OTHERS).encode()
    with pytest.raises(UserError, match="^pair: these are the 2 images of others"):
        get_list("pair", None, None)
    web[url] = b"<!DOCTYPE html>"
    with pytest.raises(UserError, match=f"^{url}: line 1: '<!DOCTYPE' is no voc2012 image"):
        get_list("pair", None, None)


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("Name or service not known"), TimeoutError("timed out"), ConnectionResetError("reset")],
)
def test_without_a_network_the_list_is_to_be_fetched_by_hand(manifest, monkeypatch, error):
    def urlopen(url, timeout):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    advice = "get splits/2/labeled.txt of https://github.com/someone/masks by hand; pass --list_file=<file or clone>"
    with pytest.raises(UserError, match=f"^pair: https.* cannot be downloaded .*; {advice}$"):
        get_list("pair", None, None)


def test_a_file_that_has_moved_is_named(manifest, web):
    with pytest.raises(
        UserError, match="^pair: https://.*/HEAD/splits/2/labeled.txt cannot be downloaded .*404.*by hand"
    ):
        get_list("pair", None, None)


def test_what_comes_with_the_data_set_is_not_downloaded(manifest, web):
    with pytest.raises(UserError, match="^devkit: cannot be downloaded; expected ImageSets/train.txt, in the devkit"):
        get_list("devkit", None, None)


def test_a_union_is_put_together(manifest, web, tmp_path):
    base = "https://raw.githubusercontent.com/someone/masks/HEAD/"
    for number, ids in ((2, PAIR), (3, OTHERS)):
        web[f"{base}splits/{number}/labeled.txt"] = "\n".join(ids).encode()
        file = tmp_path / "splits" / str(number) / "labeled.txt"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(ids))
    assert get_list("all", None, None) == PAIR + OTHERS
    web.clear()
    assert get_list("all", str(tmp_path), None) == PAIR + OTHERS
    file.write_text("\n".join(OTHERS + PAIR))
    assert get_list("all", str(file), None) == OTHERS + PAIR


def test_a_rule_needs_all_images(manifest):
    assert get_list("drawn", None, PAIR + OTHERS) == [OTHERS[0], OTHERS[1], PAIR[1]]
    with pytest.raises(UserError, match="^drawn: is computed from the ids of all; give a data set that has them"):
        get_list("drawn", None, None)
    with pytest.raises(UserError, match="^drawn: is chosen from all images of all; all: found 3 ids .*; expected 4"):
        get_list("drawn", None, PAIR + OTHERS[1:])


def test_the_table_shows_all_lists_and_where_they_are():
    head, *rows = describe().splitlines()
    assert head.split() == ["list", "images", "paper", "where"] and len(rows) == 49
    row = next(row for row in rows if row.startswith("voc_u2pl_1_2_732 "))
    assert row.split() == [
        "voc_u2pl_1_2_732",
        "732",
        "U2PL",
        "Haochen-Wang409/U2PL:",
        "data/splits/pascal/732/labeled.txt",
    ]


def test_a_list_is_described_with_its_trap():
    text = " ".join(describe("voc_u2pl_1_2_732").split())
    assert "732 images of voc2012" in text and "8c23014f512884b9" in text
    assert "There are two lists of 732 images" in text and "voc_pseudoseg_1_2_732" in text
