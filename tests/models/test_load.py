"""Loaded models compute what Hugging Face computes, are frozen and eager, and what cannot be loaded is said clearly."""

from __future__ import annotations

import inspect
import logging
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

import interp
from interp.errors import InputError
from interp.models.load import load_model
from tests.models.conftest import tiny_gpt2, tiny_llama, tiny_tokenizer

TOKENS = torch.randint(2, 40, (3, 11), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def no_hub(monkeypatch, tmp_path) -> Path:
    """A hub that refuses connections, and an empty cache of it."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def frozen_and_eager(model: TransformerBridge) -> bool:
    parameters = [*model.parameters(), *model.original_model.parameters()]
    config = getattr(model.original_model, "config", None)
    eager = config is None or config._attn_implementation == "eager"
    return not model.training and not any(parameter.requires_grad for parameter in parameters) and eager


def test_a_directory_gives_hugging_faces_logits(saved_model):
    model = load_model(str(saved_model), device="cpu")
    reference = AutoModelForCausalLM.from_pretrained(saved_model, attn_implementation="eager").eval()
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), reference(TOKENS).logits, atol=1e-4, rtol=0)
    assert frozen_and_eager(model)
    assert model.tokenizer.decode(model.tokenizer.encode("the cat", add_special_tokens=False)) == "the cat"


def test_attention_patterns_exist(saved_model):
    _, cache = load_model(saved_model, device="cpu").run_with_cache(TOKENS)
    pattern = cache["blocks.1.attn.hook_pattern"]
    torch.testing.assert_close(pattern.sum(-1), torch.ones_like(pattern.sum(-1)))


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("tokenizer", [None, tiny_tokenizer])
def test_a_hugging_face_object_is_wrapped(make, tokenizer, no_hub):
    reference = make()
    reference.set_attn_implementation("eager")
    model = load_model(make(), tokenizer=tokenizer and tokenizer())
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS), reference(TOKENS).logits, atol=1e-4, rtol=0)
    assert frozen_and_eager(model)
    assert (model.tokenizer is None) == (tokenizer is None)


def test_a_wrapped_object_finds_the_tokenizer_beside_it(saved_llama, no_hub):
    model = load_model(AutoModelForCausalLM.from_pretrained(saved_llama))
    assert model.tokenizer.bos_token == "<|bos|>"


def test_a_bridge_is_passed_through_and_frozen(saved_llama):
    bridge = TransformerBridge.boot_transformers(str(saved_llama), device="cpu").train()
    bridge.original_model.set_attn_implementation("sdpa")
    assert load_model(bridge) is bridge
    assert frozen_and_eager(bridge)


def test_dtype(saved_llama):
    assert load_model(saved_llama, device="cpu", dtype=torch.bfloat16)(TOKENS).dtype == torch.bfloat16
    toy = load_model("toy/induction", dtype=torch.float64)
    assert toy(TOKENS[:, :5] % 13).dtype == torch.float64
    assert load_model(toy).W_Q.dtype == torch.float64  # an object keeps its own


@pytest.mark.parametrize("name", ["toy/induction", "toy/linear"])
def test_toys(name):
    model = interp.load_model(name)
    assert model.cfg.model_name == name
    assert frozen_and_eager(model)
    assert model.tokenizer is None


def test_the_house_model_has_a_short_name(monkeypatch, saved_llama):
    seen = []
    monkeypatch.setattr("interp.models.load.prepare", lambda model: seen.append(model.name) or saved_llama)
    for alias in ("smollm2-135m", "SmolLM2-135M", "smollm2-135m-instruct-q4_1"):
        assert load_model(alias, device="cpu").cfg.model_name == "smollm2-135m-instruct-q4_1"
    assert set(seen) == {"smollm2-135m-instruct-q4_1"}


def test_context_length(saved_llama):
    assert load_model(saved_llama, device="cpu", n_ctx=32).cfg.n_ctx == 32


def test_device_map(saved_llama):
    model = load_model(saved_llama, device_map={"": "cpu"})
    assert frozen_and_eager(model)
    assert model(TOKENS).device.type == "cpu"


def test_context_length_that_contradicts_the_weights(tmp_path):
    tiny_gpt2().save_pretrained(tmp_path / "gpt2")
    tiny_tokenizer().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(InputError, match=r"cannot load gpt2: .*n_ctx=32"):
        load_model(tmp_path / "gpt2", device="cpu", n_ctx=32)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("toy/induction", {"n_ctx": 5}, "n_ctx cannot be given for toy/induction"),
        ("toy/induction", {"revision": "main", "device_map": "auto"}, "revision and device_map cannot be given"),
        ("smollm2-135m", {"revision": "main"}, "revision cannot be given for smollm2-135m-instruct-q4_1"),
        ("gpt2", {"device": "cpu", "device_map": "auto"}, "exclude each other"),
        ("gpt2", {"tokenizer": object()}, "tokenizer cannot be given"),
        ("toy/inductoin", {}, "did you mean 'toy/induction'"),
        ("toy/induction", {"device": "cudo"}, "there is no device 'cudo'"),
        ("./nothing/here", {}, "there is no model directory './nothing/here'"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        load_model(name, **options)


def test_other_objects_are_refused():
    unchecked = inspect.unwrap(load_model)  # without the type check of the tests, as users run it
    with pytest.raises(InputError, match="cannot load a Linear; give a name"):
        unchecked(torch.nn.Linear(2, 2))


def test_options_for_objects_are_refused():
    with pytest.raises(InputError, match="n_ctx cannot be given for a model object"):
        load_model(load_model("toy/linear"), n_ctx=3)


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing"):
        load_model(tmp_path)


def test_a_misspelt_directory_names_its_neighbour(saved_llama):
    with pytest.raises(InputError, match=r"did you mean '.*/llama'"):
        load_model(saved_llama.parent / "lama")


def test_a_broken_directory_is_one_sentence(saved_llama, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text((saved_llama / "config.json").read_text())
    with pytest.raises(InputError, match="cannot load broken: ") as caught:
        load_model(tmp_path / "broken", device="cpu")
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused_instead_of_random(saved_model, tmp_path):
    directory = shutil.copytree(saved_model, tmp_path / "lacking")
    weights = load_file(directory / "model.safetensors")
    dropped = [name for name in sorted(weights) if "1.mlp" in name]
    kept = {name: tensor for name, tensor in weights.items() if name not in dropped}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"its files lack weights, .*{re.escape(dropped[0])}"):
        load_model(directory, device="cpu")


def test_quiet_loading_leaves_logging_as_it_was(saved_llama, capfd):
    loader = logging.getLogger("transformers.modeling_utils")
    before = (loader.level, loader.propagate, list(loader.handlers))
    capfd.readouterr()
    load_model(saved_llama, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (loader.level, loader.propagate, list(loader.handlers)) == before


def test_no_hub_is_said_quickly_with_what_works_offline(no_hub):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"cannot be reached .* work offline: smollm2-135m, toy/induction"):
        load_model("gpt2")
    assert time.monotonic() - began < 20


def test_offline_mode_is_respected(no_hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        load_model("gpt2")


@pytest.mark.parametrize(
    ("wrong", "right"), [("smolm2-135m", "smollm2-135m"), ("pythia-70m", "EleutherAI/pythia-70m"), ("gtp2", "gpt2")]
)
def test_misspelt_names_get_the_nearest(no_hub, wrong, right):
    with pytest.raises(InputError, match=f"did you mean.*'{right}'"):
        load_model(wrong)


def test_a_model_in_the_hubs_cache_loads_without_the_hub(no_hub, saved_llama):
    from interp.models import identity

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = no_hub / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(saved_llama, target_is_directory=True)
    model = load_model("somebody/tiny", device="cpu")
    assert identity(model)["id"] == "somebody/tiny"
    assert identity(model)["revision"] == commit
    with pytest.raises(InputError, match=r"work offline: .*somebody/tiny"):
        load_model("somebody/other")


@pytest.mark.hub
def test_gpt2_from_the_hub():
    model = load_model("gpt2", device="cpu")
    tokens = model.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert model.tokenizer.decode(model(tokens)[0, -1].argmax()) == " the"
    assert model.cfg.n_layers == 12
