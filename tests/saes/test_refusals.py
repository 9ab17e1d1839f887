"""What cannot be trained is refused before anything is trained, in one sentence that names the fix."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pytest
import torch

import saes
from interp.errors import InputError
from saes.activations.streams import TensorStream
from saes.evals.fidelity import Fidelity
from saes.formats.native import firing_shares
from saes.kernels.calibration import Plan
from saes.training import fitting
from saes.training.config import structure
from saes.training.engine import EngineSettings
from saes.training.optimiser import Adam
from saes.training.schedules import Schedule
from saes.training.settings import FitSettings

OPTIONS: dict[str, Any] = {"n_tokens": 256, "batch_size": 32, "plan": Plan(max_density=0.2)}


def unchecked(kind: type, **values: Any) -> Any:
    """Made without the tests' own type checks, which come before what users meet."""
    made: Any = object.__new__(kind)
    for each in fields(kind):
        default = None if each.default is MISSING else each.default
        default = default if each.default_factory is MISSING else each.default_factory()
        object.__setattr__(made, each.name, values.get(each.name, default))
    made.__post_init__()
    return made


def some_activations(width: int = 16, n_tokens: int = 200) -> torch.Tensor:
    return torch.randn(n_tokens, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: unchecked(saes.TopK, d_in=16, d_sae=32, k=2.5), "k has to be a whole number, not 2.5"),
        (lambda: unchecked(saes.TopK, d_in=16, d_sae=32, k="4"), "k has to be a whole number, not '4'"),
        (lambda: unchecked(saes.TopK, d_in=16, d_sae=math.nan, k=4), "d_sae has to be a whole number, not nan"),
        (lambda: saes.TopK(16, 32, k=True), "k has to be a whole number, not True"),
        (lambda: saes.TopK(16, 32, k=4, aux_k=-1), "aux_k has to be at least 0, not -1"),
        (lambda: saes.TopK(16, 32, k=4, aux_coefficient=math.inf), "aux_coefficient has to be a finite number"),
        (
            lambda: unchecked(saes.TopK, d_in=16, d_sae=32, apply_b_dec_to_input="no"),
            "apply_b_dec_to_input has to be True or False",
        ),
        (lambda: saes.BatchTopK(16, 32, k=4, threshold_rate=2.0), "threshold_rate lies above 0 and is at most 1"),
        (lambda: unchecked(saes.Matryoshka, d_in=16, d_sae=32, k=4, prefixes=(2.5, 8)), "prefixes"),
        (lambda: saes.Standard(16, 32, l1_coefficient=-5.0), "l1_coefficient has to be at least 0, not -5"),
        (lambda: saes.Standard(16, 32, l1_coefficient=math.nan), "l1_coefficient has to be a finite number, not nan"),
        (lambda: saes.JumpReLU(16, 32, bandwidth=0.0), "bandwidth has to be greater than 0"),
        (lambda: saes.JumpReLU(16, 32, coefficient=-1.0), "coefficient has to be at least 0"),
        (lambda: saes.JumpReLU(16, 32, initial_threshold=math.nan), "initial_threshold has to be a finite number"),
        (lambda: Schedule(lr=math.nan), "lr has to be a finite number, not nan"),
        (lambda: Schedule(lr=0.0), "lr has to be greater than 0"),
        (lambda: Schedule(warm_up=math.nan), "warm_up has to be a finite number"),
        (lambda: Schedule(k_start=0), "k_start has to be at least 1"),
        (lambda: Schedule(resample_every=-1), "resample_every has to be at least 0"),
        (lambda: Adam(beta2=1.0), "beta2 lies from 0 to below 1"),
        (lambda: Adam(clip=-1.0), "clip has to be at least 0"),
        (lambda: EngineSettings(dead_every=0), "dead_every has to be at least 1"),
        (lambda: FitSettings(batch_size=0), "batch_size has to be at least 1, not 0"),
        (lambda: FitSettings(n_tokens=-5), "n_tokens has to be at least 1, not -5"),
        (lambda: FitSettings(held_out_tokens=-1), "held_out_tokens has to be at least 0"),
        (lambda: FitSettings(checkpoint_minutes=math.nan), "checkpoint_minutes has to be a finite number"),
        (lambda: FitSettings(seed=2**63), r"seed has to be below 2\*\*40"),
        (lambda: unchecked(FitSettings, schedule=0.1), r"schedule has to be saes\.training\.schedules\.Schedule"),
    ],
)
def test_settings_that_mean_nothing(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_numbers_that_mean_the_same_are_the_same() -> None:
    config = unchecked(saes.TopK, d_in=np.int64(16), d_sae=32.0, k=np.int32(4))
    assert config == saes.TopK(16, 32, k=4)
    assert {type(value) for value in (config.d_in, config.d_sae, config.k)} == {int}
    assert type(unchecked(FitSettings, n_tokens=1e6).n_tokens) is int
    assert type(unchecked(saes.Standard, d_in=16, d_sae=32, l1_coefficient=np.float32(0.5)).l1_coefficient) is float


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (saes.TopK(16, 32, k=4, decoder_norm="free"), {"normalise": "whiten"}, "'whiten' needs decoder_norm 'unit'"),
        (saes.TopK(16, 32, k=4, decoder_norm="any"), {}, "train with 'unit' or 'free'"),
        (saes.TopK(16, 32, k=4), {"schedule": Schedule(k_start=100)}, r"k_start \(100\) is more than the d_sae = 32"),
        ([], {}, "configs is empty"),
    ],
)
def test_fit_refuses_before_it_looks_at_the_data(config, options, message, monkeypatch) -> None:
    monkeypatch.setattr(fitting, "resolve_device", lambda _: pytest.fail("too late"))
    with pytest.raises(InputError, match=message):
        saes.fit(config, some_activations(), **{**OPTIONS, **options})


@pytest.mark.parametrize(
    ("entry", "changes", "message"),
    [
        ({"decoder_norm": ["unit", "free"]}, {"fit": {"normalise": "whiten"}}, "'whiten' needs decoder_norm 'unit'"),
        ({}, {"fit": {"schedule": {"k_start": 100}}}, "more than the d_sae = 32 latents of topk-32-k4"),
        ({"k": [4, 2.5]}, {}, "k has to be a whole number, not 2.5"),
        ({}, {"fit": {"batch_size": 0}}, "batch_size has to be at least 1"),
        ({}, {"fit": {"schedule": {"lr": "nan"}}}, "lr has to be a finite number"),
        ({}, {"fit": {"normalise": "layer"}}, "there is no normalisation 'layer'"),
        ({}, {"fit": {"precision": "fp8"}}, "there is no precision 'fp8'"),
        ({}, {"fit": {"normalise": "whiten"}, "warm_start": "x"}, "warm start cannot be combined"),
        ({}, {"evaluate_prompts": -1}, "evaluate_prompts has to be at least 0"),
    ],
)
def test_yaml_is_refused_before_a_model_is_loaded(entry, changes, message) -> None:
    given = {
        "sites": "blocks.0.hook_resid_post",
        "dictionaries": {"architecture": "topk", "d_sae": 32, "k": 4, **entry},
    }
    with pytest.raises(InputError, match=message):
        structure({**given, **changes})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_arrays_and_memory_maps(dtype, tmp_path) -> None:
    x = some_activations().numpy().astype(dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    first, second, third = (
        saes.fit(saes.TopK(16, 32, k=4), each, **OPTIONS).dictionary.decoder for each in (torch.tensor(x), x, mapped)
    )
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    stream = TensorStream({"x": mapped})
    assert stream.activations["x"].data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((200, 16), dtype=np.int64), "are int64; give float16, float32 or float64"),
        (np.zeros((200, 16), dtype=">f4"), "give float16, float32 or float64"),
        (np.zeros((200, 16))[::-1], "run backwards in memory"),
        (torch.zeros(200, 16, dtype=torch.long), r"are torch.int64; give floating-point numbers"),
        (torch.zeros(200), r"have shape \[200\]; give \[tokens, d_in\]"),
        (torch.zeros(4, 50, 16), r"have shape \[4, 50, 16\]"),
    ],
)
def test_what_is_no_table_of_activations(given, message) -> None:
    with pytest.raises(InputError, match=message):
        saes.fit(saes.TopK(16, 32, k=4), given, **OPTIONS)


def test_a_site_without_a_dictionary_is_refused() -> None:
    x = some_activations()
    with pytest.raises(InputError, match=r"no dictionary fits the sites \(b: 8\), only d_in = 16 was given"):
        saes.fit(saes.TopK(16, 32, k=4), {"a": x, "b": x[:, :8]}, **OPTIONS)
    with pytest.raises(InputError, match="there are no activations"):
        saes.fit(saes.TopK(16, 32, k=4), {}, **OPTIONS)


def test_a_schedule_of_plain_values() -> None:
    x, config = some_activations(), saes.TopK(16, 32, k=4)
    plain = saes.fit(config, x, schedule={"lr": 1e-2}, engine={"adam": {"beta1": 0.8}}, **OPTIONS)
    made = saes.fit(config, x, schedule=Schedule(lr=1e-2), engine=EngineSettings(Adam(beta1=0.8)), **OPTIONS)
    assert torch.equal(plain.dictionary.decoder, made.dictionary.decoder)
    with pytest.raises(InputError, match="there is no key 'lrr'"):
        saes.fit(config, x, schedule={"lrr": 1e-2}, **OPTIONS)


def test_fit_keeps_its_dictionaries(tmp_path) -> None:
    run = saes.fit([saes.TopK(16, 32, k=4), saes.Standard(16, 32)], some_activations(), out=tmp_path, **OPTIONS)
    for name, dictionary in run.dictionaries.items():
        folder = run.directory / "dictionaries" / name
        assert torch.allclose(saes.load(folder).decoder, dictionary.decoder, atol=1e-6)
        assert firing_shares(folder) == pytest.approx(run.firing[name], abs=1e-6)


@pytest.mark.parametrize("kind", [saes.TopK, saes.BatchTopK, saes.Matryoshka, saes.JumpReLU, saes.Standard])
def test_the_support_is_what_is_active(kind) -> None:
    own = {"k": 4} if issubclass(kind, saes.TopK) else {}
    d = kind(16, 32, **own).build(torch.Generator().manual_seed(0)).requires_grad_(False)
    x = some_activations(n_tokens=12).view(3, 4, 16)
    h = d.pre_activations(x)
    support, mask = d.support(h), d.active(h).view(-1, 32)
    assert [support.columns[a:b].tolist() for a, b in zip(support.offsets, support.offsets[1:])] == [
        row.nonzero().flatten().tolist() for row in mask
    ]
    made = support.decode(support.pick(h.view(-1, 32)), d.W_dec) + d.b_dec
    assert torch.allclose(made, d(x).reconstruction.view(-1, 16), atol=1e-5)


def test_measures_do_not_depend_on_the_scale() -> None:
    x = some_activations() + 1
    x[:, 3] = 2.0
    made = x + 0.5 * some_activations().flip(0)
    found = []
    for scale in (1.0, 1e-8, 1e8):
        sums = Fidelity()
        sums.add(x.double() * scale, made.double() * scale, torch.ones(len(x), 4))
        found.append(sums.measures())
    for name in ("explained_variance", "explained_variance_per_dimension", "cosine", "norm_ratio"):
        assert [each[name] for each in found] == pytest.approx([found[0][name]] * 3)
    varying = torch.arange(16) != 3
    own = 1 - (x - made).square().sum(0)[varying] / (x - x.mean(0)).square().sum(0)[varying]
    assert found[0]["explained_variance_per_dimension"] == pytest.approx(float(own.mean()), rel=1e-4)


@pytest.mark.parametrize("normalise", ["none", "mean-norm"])
def test_activations_that_do_not_vary_have_no_variance_to_explain(normalise) -> None:
    x = torch.full((200, 16), 0.1)
    last = saes.fit(saes.TopK(16, 32, k=4), x, normalise=normalise, log_every=2, **OPTIONS).last()
    assert math.isnan(last["explained_variance"])
    assert math.isnan(last["held_out_explained_variance"])


def test_weights_that_are_no_numbers_are_not_loaded(tmp_path) -> None:
    d = saes.TopK(16, 32, k=4).build().requires_grad_(False)
    d.b_dec[3] = math.nan
    d.save(tmp_path / "broken")
    with pytest.raises(InputError, match=r"b_dec in .*sae_weights\.safetensors holds NaN or infinity"):
        saes.load(tmp_path / "broken")
