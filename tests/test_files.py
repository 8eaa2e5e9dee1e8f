"""Atomic writing: what may stand at the temporary name, and what is left when something fails."""

import os

import pytest

from mnistcore.errors import InputError
from mnistcore.files import replacing


def write(path, data=b"new"):
    with replacing(path) as file:
        file.write(data)


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.fault("Security", "a link or hard link at a temporary name that leads out of the folder",
                   "the file outside is not touched")  # fmt: skip
def test_a_link_at_the_temporary_name_is_not_written_through(link, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "in").mkdir()
    link(outside, tmp_path / "in" / ".a.partial")
    write(tmp_path / "in" / "a")
    assert outside.read_bytes() == b"mine"
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == {"a": b"new"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.fault(
    "Security", "a named pipe at a temporary name", "it is removed; nothing waits for a reader"
)
def test_a_pipe_at_the_temporary_name_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / ".a.partial")
    write(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.fault(
    "Security", "a link to nowhere at a temporary name", "it is removed; nothing appears there"
)
def test_a_link_to_nowhere(tmp_path):
    (tmp_path / ".a.partial").symlink_to(tmp_path / "nowhere")
    write(tmp_path / "a")
    assert not (tmp_path / "nowhere").exists() and not (tmp_path / "a").is_symlink()


def test_a_folder_at_the_temporary_name_is_an_error_that_names_it(tmp_path):
    (tmp_path / ".a.partial").mkdir()
    with pytest.raises(OSError, match=r"directory|not permitted") as caught:
        write(tmp_path / "a")
    assert ".a.partial" in str(caught.value.filename)


@pytest.mark.fault(
    "Security", "a device, such as /dev/null, as the file to write", "it is refused, and stays a device"
)
def test_a_device_is_not_replaced(tmp_path):
    (tmp_path / "null").symlink_to(
        os.devnull
    )  # not the device itself: whoever breaks this, as root, breaks the machine
    with pytest.raises(InputError, match="is no name of a file"):
        write(tmp_path / "null")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    write(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_new_file_may_be_read_by_those_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
