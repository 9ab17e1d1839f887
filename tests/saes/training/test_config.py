"""Configurations: from YAML and plain values, grids, and one clear sentence for whatever is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import saes
from interp.errors import InputError
from saes.training.config import TrainConfig, read_config, structure, with_options

PLAIN = {"sites": ["blocks.0.hook_resid_post"], "dictionaries": [{"architecture": "topk", "d_sae": 96, "k": 4}]}


def test_a_grid_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        """
        model: gpt2
        sites: [blocks.0.hook_resid_post, blocks.1.hook_mlp_out]
        texts: my_texts/
        dictionaries:
          - {architecture: topk, d_sae: [96, 192], k: [4, 8]}
          - {architecture: matryoshka_batchtopk, d_sae: 96, k: 4, prefixes: [24, 48]}
        fit: {n_tokens: 4e6, batch_size: 2048, schedule: {lr: 1e-3}}
        """
    )
    config = read_config(path)
    assert list(config.configs(16)) == [
        *(saes.TopK(16, d_sae, k=k) for d_sae in (96, 192) for k in (4, 8)),
        saes.Matryoshka(16, 96, k=4, prefixes=(24, 48)),
    ]
    assert (config.fit.n_tokens, config.fit.schedule.lr) == (4_000_000, 0.001)
    assert config.texts.source == "my_texts/"
    assert config.model == "gpt2"


def test_the_shortest_configuration() -> None:
    short = structure({"sites": PLAIN["sites"][0], "dictionaries": PLAIN["dictionaries"][0]})
    assert short == structure(PLAIN)
    assert isinstance(short, TrainConfig)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": "gpt2"}, "there is no key 'modle'; did you mean 'model'"),
        ({"fit": {"n_token": 5}}, "there is no key 'n_token'; did you mean 'n_tokens'"),
        ({"fit": {"schedule": {"warmup": 0.1}}}, "there is no key 'warmup'; did you mean 'warm_up'"),
        ({"fit": {"n_tokens": "many"}}, r"fit\.n_tokens in the configuration: invalid value for type, expected int"),
        ({"fit": {"n_tokens": 2.5e3, "batch_size": 10.5}}, r"fit\.batch_size in the configuration"),
        ({"fit": {"schedule": {"decay": "liner"}}}, "there is no decay 'liner'; did you mean 'linear'"),
        ({"fit": {"batch_size": 512}, "harvest": {"buffer": 256}}, "a batch of 512 tokens is larger than the shuffle"),
        ({"dictionaries": [{"architecture": "topk", "d_sae": 8, "k": 9}]}, "k is the number of active latents, from 1"),
        ({"dictionaries": [{"architecture": "topk", "d_sae": 8, "k": [4, 9]}]}, "from 1 to d_sae = 8, not 9"),
        ({"dictionaries": [{"architecture": "topk", "d_sae": 8, "kk": 4}]}, "there is no key of topk 'kk'"),
        (
            {"dictionaries": [{"architecture": "top", "d_sae": 8}]},
            "there is no architecture 'top'; did you mean 'topk'",
        ),
        ({"dictionaries": [{"d_sae": 8}]}, "needs architecture and d_sae; this one has d_sae"),
        ({"dictionaries": []}, "dictionaries is empty"),
        ({"dictionaries": [{"architecture": "topk", "d_sae": 8, "k": 2, "n_seeds": 0}]}, "at least 1, not 0"),
        ({"sites": []}, "sites is empty"),
        ({"model_dtype": "float16"}, "there is no model_dtype 'float16'; did you mean 'bfloat16'"),
        ({"logger": "wandbb"}, "there is no logger 'wandbb'; did you mean 'wandb'"),
        ({"harvest": {"dtype": "int8"}}, "dtype is float32 or bfloat16"),
        ({"texts": {"held_out": 1.5}}, "held_out is a share of the documents"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        structure({**PLAIN, **change})


def test_a_missing_key_and_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks the key dictionaries"):
        structure({"sites": PLAIN["sites"]})
    path = tmp_path / "bad.yaml"
    with pytest.raises(InputError, match=r"bad\.yaml cannot be read: No such file"):
        read_config(path)
    path.write_text("sites: [")
    with pytest.raises(InputError, match=r"bad\.yaml is not YAML"):
        read_config(path)
    path.write_text("sites")
    with pytest.raises(InputError, match="has to hold keys and values"):
        read_config(path)


def test_seeds_of_one_entry() -> None:
    some = {"architecture": "topk", "d_sae": 8, "k": [2, 3]}
    config = structure({**PLAIN, "dictionaries": [some, {"architecture": "topk", "d_sae": 8, "k": 4, "n_seeds": 3}]})
    assert list(config.configs(4).values()) == [1, 1, 3]
    with pytest.raises(InputError, match="two entries of dictionaries are the same"):
        structure({**PLAIN, "dictionaries": [some, some]}).configs(4)


def test_options_reach_the_parts_that_have_them() -> None:
    config = structure(PLAIN)
    changed = with_options(config, n_tokens=5000, device="cpu", buffer=4096, source="owner/name", seed=None)
    assert (changed.fit.n_tokens, changed.device, changed.harvest.buffer) == (5000, "cpu", 4096)
    assert changed.texts.source == "owner/name"
    assert changed.fit.seed == config.fit.seed
    with pytest.raises(InputError, match="there is no option 'n_token'"):
        with_options(config, n_token=3)


def test_a_logger_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package trackio: pip install trackio"):
        structure({**PLAIN, "logger": "trackio"})
