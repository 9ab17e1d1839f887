"""Tuned lenses on disk, and which models they fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp.errors import InputError
from interp.lens import TunedLens, export_tuned_lens
from interp.lens.translators import unembedding_hash
from tests.tiny_models import tiny, tiny_llama


def random_lens(name: str = "llama") -> TunedLens:
    generator = torch.Generator().manual_seed(0)
    empty = TunedLens.identity(tiny(name))
    draw = [0.1 * torch.randn(part.shape, generator=generator) for part in (empty.weights, empty.biases)]
    return TunedLens(*draw, empty.model, {"seed": 3})


def test_a_lens_comes_back_from_the_disk(tmp_path: Path) -> None:
    lens = random_lens()
    back = TunedLens.load(lens.save(tmp_path / "lens"))
    assert torch.equal(back.weights, lens.weights)
    assert torch.equal(back.biases, lens.biases)
    assert (back.model, back.training) == (lens.model, lens.training)
    back.check(tiny("llama"))


def test_the_files_are_those_of_the_package_tuned_lens(tmp_path: Path) -> None:
    lens = random_lens()
    lens.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    known = "base_model_name_or_path d_model num_hidden_layers bias base_model_revision unembed_hash lens_type"
    assert set(config) == set(known.split())
    assert (config["d_model"], config["num_hidden_layers"]) == (48, 4)
    stored = load_file(tmp_path / "params.safetensors")
    # As that package uses them: an nn.Linear for each layer, added to what it reads.
    module = torch.nn.ModuleList([torch.nn.Linear(48, 48) for _ in range(4)])
    module.load_state_dict(stored)
    stream = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(lens(stream, 2), stream + module[2](stream))
    assert torch.equal(lens(stream, 4), stream), "the output needs no translator"


def test_a_lens_of_that_package_is_read_once_its_parameters_are_safetensors(tmp_path: Path) -> None:
    model, lens = tiny("llama"), random_lens()
    lens.save(tmp_path)
    (tmp_path / "training.json").unlink()
    TunedLens.load(tmp_path).check(model)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"unembed_hash": "0" * 64}))
    with pytest.raises(InputError, match="another"):
        TunedLens.load(tmp_path).check(model)
    assert unembedding_hash(model) == config["unembed_hash"]
    (tmp_path / "params.safetensors").rename(tmp_path / "params.pt")
    with pytest.raises(InputError, match=r"is pickled.*save_file"):
        TunedLens.load(tmp_path)


def test_a_lens_of_another_model_is_refused() -> None:
    lens = random_lens()
    other = tiny_llama(seed=1)
    with pytest.raises(InputError, match=r"weights of .* are others"):
        lens.check(other)
    lens.transferred_to(other).check(other)
    for refuse in (lens.check, lens.transferred_to):
        with pytest.raises(InputError, match="4 layers of width 48"):
            refuse(tiny("gpt2"))


def test_what_cannot_be_translated_is_refused() -> None:
    lens = random_lens()
    with pytest.raises(InputError, match="no layer 5; its layers are 0 to 4"):
        lens(torch.zeros(1, 48), 5)
    with pytest.raises(InputError, match="width 48, not 47"):
        lens(torch.zeros(1, 47), 0)


def test_an_export_is_what_the_package_tuned_lens_reads(tmp_path: Path) -> None:
    lens = random_lens()
    folder = export_tuned_lens(lens, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "params.pt"]
    assert json.loads((folder / "config.json").read_text()) == lens.config()
    state = torch.load(folder / "params.pt", weights_only=True)
    # Its layer_translators: an nn.Linear for each layer, added to what it reads.
    module = torch.nn.ModuleList([torch.nn.Linear(48, 48) for _ in range(4)])
    module.load_state_dict(state)
    stream = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(lens(stream, 2), stream + module[2](stream))
    # And the way back, as the refusal of params.pt says.
    with pytest.raises(InputError, match=r"weights_only=True"):
        TunedLens.load(folder)
    save_file(state, folder / "params.safetensors")
    assert torch.equal(TunedLens.load(folder).weights, lens.weights)


@pytest.mark.parametrize("damage", ["nothing", "cut", "missing layer", "other width", "no config"])
def test_damage_is_one_sentence(damage: str, tmp_path: Path) -> None:
    random_lens().save(tmp_path)
    path = tmp_path / "params.safetensors"
    stored = load_file(path)
    match damage:
        case "nothing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "missing layer":
            save_file({name: value for name, value in stored.items() if name != "3.weight"}, path)
        case "other width":
            save_file({name: value[..., :40].contiguous() for name, value in stored.items()}, path)
        case "no config":
            (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="lens"):
        TunedLens.load(tmp_path)
