"""Every kind of path, and what is there already."""

from __future__ import annotations

import os
from pathlib import Path
import sys
from typing import Any

import lucid
import pytest

from tests.files import STATE, assert_equal


def test_bytes_str_and_path_likes_are_paths(path: Path):
    for spelled in (path, str(path), os.fsencode(path)):
        path.unlink(missing_ok=True)
        lucid.save(STATE, spelled)
        assert_equal(lucid.load(spelled), STATE)


@pytest.mark.parametrize("bad", [None, 3, 1.5, ["a.npz"]])
def test_what_is_no_path_is_a_type_error(bad: Any):
    for call in (lambda path: lucid.save(STATE, path), lucid.load):
        with pytest.raises(TypeError, match=r"`path` must be a str, bytes or path"):
            call(bad)


@pytest.mark.skipif(sys.platform == "darwin", reason="its names are always UTF-8")
def test_a_name_that_is_not_utf8_is_read_written_and_printable(path: Path):
    folder = Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff"))
    folder.mkdir()
    odd = folder / os.fsdecode(b"\xfe" + os.fsencode(path.suffix))
    lucid.save(STATE, odd)
    assert_equal(lucid.load(odd), STATE)
    odd.write_bytes(b"damaged")
    with pytest.raises(lucid.CheckpointError) as error:
        lucid.load(odd)
    assert str(error.value).isprintable()
    assert r"/\udcff/\udcfe" in str(error.value)


def test_a_pipe_is_an_os_error_and_keeps_nobody_waiting(path: Path):
    os.mkfifo(path)
    for call in (lambda: lucid.save(STATE, path), lambda: lucid.load(path)):
        with pytest.raises(OSError, match="Not a regular file"):
            call()
    assert path.is_fifo()


def test_a_link_to_a_device_is_an_os_error_and_leaves_the_device(path: Path):
    path.symlink_to(os.devnull)
    for call in (lambda: lucid.save(STATE, path), lambda: lucid.load(path)):
        with pytest.raises(OSError, match="Not a regular file"):
            call()
    assert Path(os.devnull).is_char_device()


def test_a_folder_is_an_os_error(path: Path):
    path.mkdir()
    for call in (lambda: lucid.save(STATE, path), lambda: lucid.load(path)):
        with pytest.raises(IsADirectoryError):
            call()
    assert os.listdir(path.parent) == [path.name]


def test_links_in_a_circle_are_an_os_error_and_stay(path: Path):
    path.symlink_to(path.name)
    for call in (lambda: lucid.save(STATE, path), lambda: lucid.load(path)):
        with pytest.raises(OSError, match="symbolic links"):
            call()
    assert path.is_symlink()


def test_the_content_and_not_the_ending_says_what_a_file_is(path: Path):
    lucid.save(STATE, path)
    for ending in (".npz", ".safetensors", ".bin", ""):
        renamed = path.rename(path.with_name(f"renamed{ending}"))
        assert_equal(lucid.load(renamed), STATE)
        path = renamed


@pytest.mark.parametrize(
    ("data", "kind"),
    {
        b"<!DOCTYPE html><html>": "a web page",
        b"\n <html>": "a web page",
        b"version https://git-lfs.github.com/spec/v1\noid": "Git LFS pointer",
        b"\x1f\x8b\x08rest": "gzip",
        b"\x89HDF\r\n": "HDF5",
        b"\x93NUMPY\x01\x00": "np.load",
        b"hello": "no checkpoint",
        b"": "no checkpoint",
    }.items(),
)
def test_another_kind_of_file_is_called_by_its_name(
    data: bytes, kind: str, tmp_path: Path
):
    (tmp_path / "weights").write_bytes(data)
    with pytest.raises(lucid.CheckpointError, match=kind):
        lucid.load(tmp_path / "weights")
