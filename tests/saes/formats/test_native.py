"""SAELens's layout: round trips, what folds on the way, what is refused, and the layout itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import saes
from interp.errors import InputError
from saes.formats import native
from tests.saes.architectures.test_folding import activations, configs, trained

D_IN, D_SAE = 16, 80
COMMON_KEYS = {
    "architecture", "d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations",
    "reshape_activations", "metadata",
}  # fmt: skip


@pytest.mark.parametrize("norm", ["unit", "free"])
@pytest.mark.parametrize("which", range(5))
def test_a_dictionary_comes_back_with_the_same_outputs(which: int, norm: str, tmp_path: Path) -> None:
    d, x = trained(configs(norm)[which]), activations()
    d.metadata = {"hook_name": "blocks.3.hook_resid_post", "model_name": "tiny"}
    back = saes.load(d.save(tmp_path / "d"))
    torch.testing.assert_close(back(x).reconstruction, d(x).reconstruction, rtol=1e-4, atol=1e-4)
    assert torch.equal(back.encode(x) > 0, d.encode(x) > 0)
    assert back.metadata["hook_name"] == "blocks.3.hook_resid_post"
    assert back.metadata["training_architecture"] == d.config.architecture
    again = saes.load(back.save(tmp_path / "again"))
    torch.testing.assert_close(again.decoder, back.decoder)


@pytest.mark.parametrize(
    ("which", "name", "extra"),
    [(0, "standard", set()), (2, "jumprelu", set()), (1, "topk", {"k", "rescale_acts_by_decoder_norm"})],
)
def test_the_layout(which: int, name: str, extra: set, tmp_path: Path) -> None:
    """Names, shapes and keys as SAELens 6.54 writes them."""
    native.write(trained(configs()[which]), tmp_path / "d", firing=torch.full((D_SAE,), 0.01))
    config = json.loads((tmp_path / "d" / "cfg.json").read_text())
    assert set(config) == COMMON_KEYS | extra
    assert config["architecture"] == name
    assert config["metadata"]["sae_lens_version"] >= "6.0.0"
    shapes = {n: tuple(t.shape) for n, t in load_file(tmp_path / "d" / "sae_weights.safetensors").items()}
    expected = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    assert shapes == expected | ({"threshold": (D_SAE,)} if name == "jumprelu" else {})
    sparsity = load_file(tmp_path / "d" / "sparsity.safetensors")["sparsity"]
    torch.testing.assert_close(sparsity, torch.full((D_SAE,), -2.0))
    shares = native.firing_shares(tmp_path / "d")
    assert shares is not None
    torch.testing.assert_close(shares, torch.full((D_SAE,), 0.01))


@pytest.mark.parametrize("which", range(3))
def test_what_saelens_computes_from_the_file(which: int, tmp_path: Path) -> None:
    """x̂ from the tensors by SAELens's formulas, which know nothing of this library."""
    d, x = trained(configs("free")[which]), activations()
    native.write(d, tmp_path / "d")
    w = load_file(tmp_path / "d" / "sae_weights.safetensors")
    h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    if which == 0:
        latents = h.relu()
    elif which == 1:
        top = h.topk(5, dim=-1)
        latents = torch.zeros_like(h).scatter(-1, top.indices, top.values.relu())
    else:
        latents = h.relu() * (h > w["threshold"])
    torch.testing.assert_close(latents @ w["W_dec"] + w["b_dec"], d(x).reconstruction, rtol=1e-4, atol=1e-4)


def written_by_others(directory: Path, **changes: object) -> Path:
    """A file as SAELens writes a TopK dictionary whose directions are not unit ones."""
    directory.mkdir()
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(tensors, directory / "sae_weights.safetensors")
    config = {
        "architecture": "topk", "d_in": D_IN, "d_sae": D_SAE, "k": 5, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": True, "metadata": {"sae_lens_version": "6.54.12"},
    }  # fmt: skip
    (directory / "cfg.json").write_text(json.dumps(config | changes))
    return directory


def test_selection_by_activation_times_length_is_kept(tmp_path: Path) -> None:
    d, x = saes.load(written_by_others(tmp_path / "d")), activations()
    w = load_file(tmp_path / "d" / "sae_weights.safetensors")
    h = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    chosen = (h * w["W_dec"].norm(dim=1)).topk(5, dim=-1).indices
    latents = torch.zeros_like(h).scatter(-1, chosen, h.gather(-1, chosen).relu())
    torch.testing.assert_close(d(x).reconstruction, latents @ w["W_dec"] + w["b_dec"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, "holds a gated dictionary; only standard, topk, jumprelu, .* can be read so far"),
        ({"architecture": "topq"}, "there is no architecture 'topq'; did you mean 'topk'"),
        ({"normalize_activations": "layer_norm"}, "not in its weights but done to every activation"),
        ({"d_sae": 81}, r"W_enc in .* is \[16, 80\] where its configuration says \[16, 81\]"),
    ],
)
def test_what_cannot_be_read(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        saes.load(written_by_others(tmp_path / "d", **changes))


def test_nothing_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no directory"):
        saes.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no dictionary: it needs cfg\.json"):
        saes.load(tmp_path)
    path = written_by_others(tmp_path / "d")
    (path / "sae_weights.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="is damaged"):
        saes.load(path)
    d = trained(configs()[0])
    d.save(tmp_path / "one")
    with pytest.raises(InputError, match="already exists; delete it"):
        d.save(tmp_path / "one")
