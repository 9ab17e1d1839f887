from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from interp.errors import InputError, StorageError
from interp.results import KINDS, Axis, Plot, Result, Values, load, saving
from tests.results.conftest import axis


class Sweep(Result):
    kind: ClassVar[str] = "test-sweep"


def test_a_saved_result_comes_back_equal(result: Result, tmp_path: Path) -> None:
    assert result.save(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    back = load(tmp_path / "a" / "b")
    assert back.equal(result)
    assert result.equal(back)
    assert list(back.values) == list(result.values)
    assert back.plots == result.plots


@pytest.mark.parametrize(
    "data",
    [
        torch.tensor([[1, -(2**62)]]),
        torch.tensor([[True, False]]),
        torch.tensor([[0.1, float("nan")]], dtype=torch.float64),
        torch.tensor([[0.1, float("-inf")]], dtype=torch.bfloat16),
        torch.tensor([[0, 255]], dtype=torch.uint8),
        torch.zeros(0, 2),
        torch.zeros(0, 0),
        torch.tensor(0.1),
        torch.tensor(0.1, dtype=torch.float64),
        torch.tensor(1 / 3, dtype=torch.bfloat16),
        torch.tensor(float("nan")),
        torch.tensor(2**62 + 1),
        torch.tensor(True),
    ],
    ids=lambda data: f"{data.dtype}{list(data.shape)}",
)
def test_every_kind_of_number_comes_back(data: torch.Tensor, make: Callable[..., Result], tmp_path: Path) -> None:
    axes = tuple(axis(f"axis {i}", size) for i, size in enumerate(data.shape))
    saved = make({"numbers": Values(data, axes)})
    back = load(saved.save(tmp_path))
    assert back.equal(saved)
    assert back.values["numbers"].data.dtype == data.dtype


def test_odd_text_and_odd_settings_come_back(make: Callable[..., Result], tmp_path: Path) -> None:
    saved = make(
        {"日本 /..": Values(torch.ones(3), (Axis("Ġtoken", ("<b>", "", "\ud83d")),), unit="σ")},
        settings={"rate": float("inf"), "$float": [float("nan")], "nested": {"": None}},
        plots=(Plot("bars", "日本 /..", options={"limit": float("nan")}),),
    )
    assert load(saved.save(tmp_path)).equal(saved)


def test_values_that_share_memory_are_saved(make: Callable[..., Result], tmp_path: Path) -> None:
    data = torch.arange(6.0).reshape(2, 3)
    axes = (axis("layer", 2), axis("head", 3))
    shared = {"a": Values(data, axes), "b": Values(data, axes), "row": Values(data[1], axes[1:])}
    saved = make(shared)
    assert load(saved.save(tmp_path)).equal(saved)


def test_scalars_are_readable_without_any_library(result: Result, tmp_path: Path) -> None:
    stored = json.loads((result.save(tmp_path) / "result.json").read_text(encoding="utf-8"))
    assert stored["values"]["baseline"]["scalar"] == 4.5


def test_equal_ignores_times_and_nothing_else(result: Result) -> None:
    later = replace(result, provenance=replace(result.provenance, started="x", ended="y"))
    assert result.equal(later)
    assert not result.equal(replace(result, provenance=replace(result.provenance, seed=1)))
    assert not result.equal(replace(result, settings={"over": "z"}))
    assert not result.equal(replace(result, plots=()))
    assert not result.equal(replace(result, texts={}))
    values = dict(result.values)
    values["baseline"] = replace(values["baseline"], data=torch.tensor(4.6))
    assert not result.equal(replace(result, values=values))


def test_a_kind_that_was_imported_comes_back_as_its_class(result: Result, tmp_path: Path) -> None:
    sweep = Sweep(values=result.values, settings={}, provenance=result.provenance)
    assert type(load(sweep.save(tmp_path))) is Sweep


def test_a_kind_nobody_imported_keeps_its_name(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(values=result.values, settings={}, provenance=result.provenance, plots=result.plots)
    sweep.save(tmp_path / "first")
    monkeypatch.delitem(KINDS, "test-sweep")
    generic = load(tmp_path / "first")
    assert type(generic) is Result
    assert generic.equal(sweep)
    again = load(generic.sel(layer=1).save(tmp_path / "second"))
    assert again.kind == "test-sweep"
    assert Result.kind == "result"


def test_saving_again_replaces_the_result_and_leaves_other_files_alone(
    result: Result, make: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result.save(tmp_path)
    other = make({"x": Values(torch.ones(2), (axis("a", 2),))})
    other.save(tmp_path)
    other.save(tmp_path)
    assert load(tmp_path).equal(other)
    names = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert names == ["arrays", "notes.txt", "result.json"]


@pytest.mark.parametrize("failing", [".safetensors", "result.json"])
def test_a_write_that_fails_leaves_the_old_result(
    failing: str, result: Result, make: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result.save(tmp_path)
    before = sorted(os.listdir(tmp_path))
    real = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name.endswith(failing):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="the disk is full; free some space"):
        make({"x": Values(torch.ones(2), (axis("a", 2),))}).save(tmp_path)
    monkeypatch.undo()
    assert load(tmp_path).equal(result)
    left = set(os.listdir(tmp_path)) - set(before)
    assert not any(name.startswith(".writing") for name in left)


def test_a_full_disk_under_safetensors_is_told_in_one_sentence(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise saving.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        result.save(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_is_told(result: Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="a file stands where a directory is needed"):
            result.save(place)


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no stored result in"):
        load(tmp_path)
    (tmp_path / "result.json").write_text('{"kind": ')
    with pytest.raises(InputError, match="is damaged"):
        load(tmp_path)
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(InputError, match="is not a stored result"):
        load(tmp_path)


def test_a_newer_format_is_refused(result: Result, tmp_path: Path) -> None:
    edit(result.save(tmp_path), format=99)
    with pytest.raises(InputError, match="newer version"):
        load(tmp_path)


def test_damaged_or_missing_arrays_are_noticed(result: Result, tmp_path: Path) -> None:
    (arrays,) = result.save(tmp_path).glob("arrays-*")
    content = bytearray(arrays.read_bytes())
    content[-1] ^= 1
    arrays.write_bytes(content)
    with pytest.raises(InputError, match="does not match the hash"):
        load(tmp_path)
    arrays.unlink()
    with pytest.raises(InputError, match="lacks its arrays"):
        load(tmp_path)


def test_a_result_cannot_point_outside_of_its_directory(result: Result, tmp_path: Path) -> None:
    edit(result.save(tmp_path), arrays="../secret.safetensors")
    with pytest.raises(InputError, match="not the name of a file beside it"):
        load(tmp_path)


def edit(directory: Path, **changes: object) -> None:
    path = directory / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))
