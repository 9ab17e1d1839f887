"""Dictionaries that the real SAELens 6.54 wrote, with what it makes of activations (`scripts/check_saelens_format.py
--make-golden`), and files as older versions wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import saes
from interp.errors import InputError
from saes.formats import native

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir())
D_IN, D_SAE = 6, 10


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_saelenss(name: str) -> None:
    expected, d = load_file(GOLDEN / name / "outputs.safetensors"), saes.load(GOLDEN / name)
    latents = d.encode(expected["x"])
    torch.testing.assert_close(latents, expected["latents"], rtol=1e-5, atol=1e-5)
    assert torch.equal(latents > 0, expected["latents"] > 0)
    assert 0 < (latents > 0).float().mean() < 0.9
    torch.testing.assert_close(d.decode(latents), expected["reconstruction"], rtol=1e-5, atol=1e-5)
    assert d.metadata["hook_name"] == "blocks.1.hook_resid_post"


def test_all_architectures_are_there() -> None:
    kinds = {json.loads((GOLDEN / name / "cfg.json").read_text())["architecture"] for name in NAMES}
    assert kinds == {"standard", "topk", "jumprelu", "batchtopk"}
    assert {"batchtopk", "matryoshka_batchtopk", "topk-checkpoint", "topk-unscaled"} <= set(NAMES)


@pytest.mark.parametrize("name", ["standard", "topk", "jumprelu"])
def test_what_is_written_has_the_keys_of_what_saelens_writes(name: str, tmp_path: Path) -> None:
    """Same keys and types, same tensors; and a version that SAELens does not take for an old one."""
    theirs = json.loads((GOLDEN / name / "cfg.json").read_text())
    saes.load(GOLDEN / name).save(tmp_path / "d")
    ours = json.loads((tmp_path / "d" / "cfg.json").read_text())
    assert set(ours) == set(theirs)
    assert {key: type(value) for key, value in ours.items()} == {key: type(value) for key, value in theirs.items()}
    assert int(ours["metadata"]["sae_lens_version"].split(".")[0]) >= 6
    shapes = [
        {key: (tuple(t.shape), t.dtype) for key, t in load_file(path / "sae_weights.safetensors").items()}
        for path in (GOLDEN / name, tmp_path / "d")
    ]
    assert shapes[0] == shapes[1]


def old_file(directory: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: object) -> Path:
    """A dictionary as on the hub since before SAELens 6: no architecture, no metadata, everything at the top level."""
    directory.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    named = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(named | (tensors or {}), directory / "sae_weights.safetensors")
    config = {
        "model_name": "gpt2-small", "hook_point": "blocks.8.hook_resid_pre", "d_in": D_IN, "d_sae": D_SAE,
        "dtype": "torch.float32", "device": "mps", "prepend_bos": True, "context_size": 128,
        "dataset_path": "Skylion007/openwebtext", "normalize_activations": False,
    }  # fmt: skip
    (directory / "cfg.json").write_text(json.dumps(config | changes))
    return directory


def test_files_from_before_version_6(tmp_path: Path) -> None:
    d, x = saes.load(old_file(tmp_path / "d")), torch.randn(9, D_IN)
    w = load_file(tmp_path / "d" / "sae_weights.safetensors")
    h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    torch.testing.assert_close(d.encode(x), h.relu())
    assert d.metadata["hook_name"] == "blocks.8.hook_resid_pre"
    assert d.metadata["model_name"] == "gpt2-small"
    # What says TopK only by its activation function.
    top = saes.load(old_file(tmp_path / "t", activation_fn_str="topk", activation_fn_kwargs={"k": 3}))
    chosen = h.topk(3, dim=1)
    expected = torch.zeros_like(h).scatter(1, chosen.indices, chosen.values.relu())
    torch.testing.assert_close(top.encode(x), expected)


def test_thresholds_of_older_jumprelu_dictionaries(tmp_path: Path) -> None:
    x, h = torch.randn(9, D_IN), None
    log = torch.linspace(-2, 1, D_SAE)
    d = saes.load(old_file(tmp_path / "d", {"log_threshold": log}, architecture="jumprelu"))
    w = load_file(tmp_path / "d" / "sae_weights.safetensors")
    h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    torch.testing.assert_close(d.encode(x), h * (h > log.exp()))
    negative = saes.load(old_file(tmp_path / "n", {"threshold": -torch.ones(D_SAE)}, architecture="jumprelu"))
    torch.testing.assert_close(negative.encode(x), h.relu())


def test_heads_side_by_side(tmp_path: Path) -> None:
    """SAELens reshapes [head, d_head] itself where the configuration says so; here activations come reshaped."""
    d = saes.load(old_file(tmp_path / "d", hook_name="blocks.3.attn.hook_z", reshape_activations="hook_z"))
    d.save(tmp_path / "again")
    told = json.loads((tmp_path / "again" / "cfg.json").read_text())
    assert told["reshape_activations"] == "hook_z"
    assert saes.load(tmp_path / "again").metadata["hook_name"] == "blocks.3.attn.hook_z"


def test_what_older_files_hold_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a scaling_factor for every latent"):
        saes.load(old_file(tmp_path / "s", {"scaling_factor": torch.full((D_SAE,), 1.5)}))
    with pytest.raises(InputError, match="normalize_activations = 'layer_norm', which is not in its weights"):
        saes.load(old_file(tmp_path / "l", normalize_activations="layer_norm"))
    with pytest.raises(InputError, match="lacks or garbles 'k'"):
        saes.load(old_file(tmp_path / "k", architecture="topk", k=None) and _without(tmp_path / "k", "k"))
    saes.load(old_file(tmp_path / "ones", {"scaling_factor": torch.ones(D_SAE)}))


def _without(directory: Path, key: str) -> Path:
    told = json.loads((directory / "cfg.json").read_text())
    del told[key]
    (directory / "cfg.json").write_text(json.dumps(told | {"activation_fn_kwargs": {}}))
    return directory


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (("owner/name", "blocks.8.hook_resid_pre"), "blocks.8.hook_resid_pre"),
        (("owner/name/blocks.8.hook_resid_pre",), "blocks.8.hook_resid_pre"),
        (("owner/name/layer_8", "width_16k"), "layer_8/width_16k"),
        (("owner/name",), ""),
    ],
)
def test_dictionaries_on_the_hub(given: tuple, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(repository: str, patterns: list[str], revision: str | None) -> Path:
        asked.append((repository, patterns, revision))
        return tmp_path / "snapshot"

    old_file(tmp_path / "snapshot" / folder)
    monkeypatch.setattr("saes.loading.files_from_hub", snapshot)
    d = saes.load(*given, revision="abc")
    prefix = f"{folder}/" if folder else ""
    wanted = [f"{prefix}{name}" for name in (native.CONFIG, native.WEIGHTS, native.SPARSITY)]
    assert asked == [("owner/name", wanted, "abc")]
    assert (d.d_in, d.d_sae) == (D_IN, D_SAE)


@pytest.mark.parametrize("given", ["/nowhere/at/all", "./here/not", "name", "../up/there"])
def test_what_is_no_name_on_the_hub(given: str) -> None:
    with pytest.raises(InputError, match="there is no directory"):
        saes.load(given)
