"""Files are written whole, and only in place of files."""

import os
import stat

import pytest

from wss.files import WriteError, check_new_output, check_writable, write_text

FOUND = r"a device or a pipe, expected a file or none"


@pytest.fixture(params=["pipe", "link to it"])
def special(request, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if request.param == "pipe":
        return pipe
    link = tmp_path / "link"
    link.symlink_to(pipe)
    return link


def still_special(path) -> bool:
    return stat.S_ISFIFO(os.stat(path).st_mode) and len(list(path.parent.iterdir())) <= 2


def test_what_is_no_file_is_refused_before_the_work(special):
    with pytest.raises(WriteError, match=rf"{special}: cannot be written \({FOUND}\); give another$"):
        check_writable(special, "give another")
    with pytest.raises(WriteError, match=rf"{special}: .*{FOUND}.*--output"):
        check_new_output(str(special), overwrite=True)
    assert still_special(special)


def test_what_is_no_file_is_not_replaced(special):
    with pytest.raises(WriteError, match=rf"{special}: cannot be written \({FOUND}\)"):
        write_text(special, "text")
    assert still_special(special)


def test_a_file_is_replaced_and_leaves_nothing_beside(tmp_path):
    file = tmp_path / "folder" / "file"
    write_text(file, "one")
    check_writable(file, "")
    write_text(file, "two")
    assert file.read_text() == "two" and [path.name for path in file.parent.iterdir()] == ["file"]
