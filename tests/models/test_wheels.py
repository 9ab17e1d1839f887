"""Obtaining the pinned file: from an installed package, by pip, by uv; never the wrong one, never importing it."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
import sys
import zipfile

import pytest

import interp.models.wheels as wheels
from interp.errors import InputError


@pytest.fixture
def wheel(tiny_wheel):
    return tiny_wheel.wheel


@pytest.fixture
def installed(wheelhouse, tmp_path, monkeypatch):
    """The wheel unpacked on sys.path, as an installed package is."""
    directory, _ = wheelhouse
    site = tmp_path / "site"
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as archive:
        archive.extractall(site)
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def no_pip(monkeypatch):
    find_spec = wheels.importlib.util.find_spec
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    monkeypatch.setattr(wheels.shutil, "which", lambda _: None)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_pip(wheel, tmp_path):
    wheels.obtain(wheel, tmp_path / "file")
    assert sha256(tmp_path / "file") == wheel.member_sha256


def test_an_installed_package_is_taken_first_and_not_imported(wheel, tmp_path, installed, no_pip):
    wheels.obtain(wheel, tmp_path / "file")
    assert sha256(tmp_path / "file") == wheel.member_sha256
    assert "tiny_gguf_model" not in sys.modules


def test_an_installed_package_with_another_file_is_passed_over(wheel, tmp_path, installed, no_pip):
    (installed / wheel.member).write_bytes(b"something else")
    with pytest.raises(InputError, match="unexpected SHA-256"):
        wheels.obtain(wheel, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_uv_where_there_is_no_pip(wheel, wheelhouse, tmp_path, no_pip, monkeypatch):
    """A stand-in for uv that understands `pip install --target` unpacks the wheel, as uv does."""
    directory, _ = wheelhouse
    uv, program = tmp_path / "uv", tmp_path / "uv.py"
    # Not the interpreter's own path in the first line: a space in it would cut it short.
    uv.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    program.write_text(
        "import sys, zipfile\n"
        "arguments = sys.argv[1:]\n"
        "assert arguments[:2] == ['pip', 'install'] and '--no-deps' in arguments, arguments\n"
        f"assert arguments[-1] == {wheel.requirement!r}, arguments\n"
        "target = arguments[arguments.index('--target') + 1]\n"
        f"zipfile.ZipFile({str(next(directory.glob('*.whl')))!r}).extractall(target)\n"
    )
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(wheels.shutil, "which", lambda name: str(uv) if name == "uv" else None)
    wheels.obtain(wheel, tmp_path / "file")
    assert sha256(tmp_path / "file") == wheel.member_sha256


@pytest.mark.parametrize("field", ["sha256", "member_sha256"])
def test_a_wheel_with_another_hash_is_refused(wheel, tmp_path, field):
    other = dataclasses.replace(wheel, **{field: "0" * 64})
    with pytest.raises(InputError, match="unexpected SHA-256"):
        wheels.obtain(other, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_without_any_way_the_command_is_printed(wheel, tmp_path, no_pip):
    with pytest.raises(InputError, match=r"no pip.*no uv.*pip install --no-deps tiny-gguf-model==0\.1\.0"):
        wheels.obtain(wheel, tmp_path / "file")


@pytest.fixture
def folder(wheelhouse, monkeypatch):
    """The same wheel, asked for the folder that its model lies in."""
    directory, prepared = wheelhouse
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as archive:
        files = sorted(name for name in archive.namelist() if name.startswith("tiny_gguf_model/"))
        lines = [f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name.rpartition('/')[2]}\n" for name in files]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return dataclasses.replace(prepared.wheel, member="tiny_gguf_model/", member_sha256=digest)


def test_a_folder_comes_whole(folder, tmp_path):
    wheels.obtain(folder, tmp_path / "texts")
    assert sorted(file.name for file in (tmp_path / "texts").iterdir()) == ["__init__.py", "tiny.gguf"]
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]


def test_an_installed_folder_with_a_file_more_is_passed_over(folder, tmp_path, installed, no_pip):
    wheels.obtain(folder, tmp_path / "texts")
    (installed / folder.member / "more.txt").write_text("more")
    with pytest.raises(InputError, match="unexpected SHA-256"):
        wheels.obtain(folder, tmp_path / "others")
    assert not (tmp_path / "others").exists()
    with pytest.raises(InputError, match="the installed package lacks no/such/"):
        wheels.obtain(dataclasses.replace(folder, member="no/such/"), tmp_path / "others")
