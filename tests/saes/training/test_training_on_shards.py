"""`saes.train` on stored activations: the same command, without the model's work while it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import saes
from interp.errors import InputError
from saes.activations.harvesting import Harvest
from saes.training.settings import FitSettings
from tests.saes.activations.test_shards import LENGTH, SITES, make_texts, write
from tests.tiny_models import tiny


def test_training_on_stored_activations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = make_texts(tmp_path / "texts")
    shards = write(tmp_path / "shards", texts)
    config = saes.TrainConfig(
        dictionaries=({"architecture": "topk", "d_sae": 64, "k": 4},),
        sites=(SITES[0],),
        texts=texts,
        harvest=Harvest(context_size=200, buffer=16),  # what was stored holds
        activations=str(shards.directory),
        fit=FitSettings(n_tokens=600, batch_size=30, log_every=5, precision="float32"),
        evaluate_prompts=4,
    )
    with monkeypatch.context() as patch:
        patch.setattr("saes.training.training.ModelStream", None)
        run = saes.train(config, model=tiny("llama"), out=tmp_path / "runs")
    told = run.dictionary.metadata
    assert told["context_size"] == LENGTH
    assert told["activations_sha256"] == shards.header.content_sha256
    assert told["n_epochs"] == pytest.approx(600 / len(shards), rel=0.05)
    assert run.evaluation[SITES[0]].settings["n_prompts"] > 0
    straight = saes.fit(
        saes.TopK(int(tiny("llama").cfg.d_model), 64, k=4), saes.open_shards(shards.directory, [SITES[0]]),
        settings=config.fit,
    )  # fmt: skip
    assert torch.equal(straight.dictionary.decoder, run.dictionary.decoder)
    other = replace(config, texts=make_texts(tmp_path / "others", 50))
    with pytest.raises(InputError, match=r"was made with texts = .* write shards of this model and these texts"):
        saes.train(other, model=tiny("llama"), out=tmp_path / "runs")
    with pytest.raises(InputError, match="was made with weights_sha256"):
        saes.train(config, model=tiny("gpt2"), out=tmp_path / "runs")
