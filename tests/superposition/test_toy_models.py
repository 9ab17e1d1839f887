"""Many models at once against one at a time, the linear model against algebra, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.errors import InputError
from interp.results import load
from interp.superposition import ToyModels, importance_sweep, train
from interp.superposition.architectures import relu_output
from interp.superposition.sampling import Draws
from tests.superposition.slow_twins import train_one

SHORT: dict[str, Any] = {"n_steps": 40, "batch_size": 32, "learning_rate": 0.01, "n_test": 64}


@pytest.fixture(scope="module")
def sparse() -> ToyModels:
    """Five features in two dimensions, sparse and not."""
    return train(5, 2, sparsity=[0.0, 0.95], importance=0.9, n_seeds=5, n_steps=400, learning_rate=0.03, n_test=8192)


@pytest.mark.parametrize("model", ["relu", "linear"])
def test_models_of_a_batch_are_those_of_a_hand_written_loop(model: str) -> None:
    found = train(6, 3, sparsity=[0.0, 0.8], importance=0.7, model=model, n_seeds=2, seed=3, **SHORT)
    importance = 0.7 ** torch.arange(6)
    for sparsity in (0.0, 0.8):
        for seed in (3, 4):
            options = {name: SHORT[name] for name in ("n_steps", "batch_size", "learning_rate")}
            w, b = train_one(6, 3, 1 - sparsity, importance, seed, relu=model == "relu", **options)
            torch.testing.assert_close(found.weights(sparsity, seed), w, atol=2e-4, rtol=1e-3)
            bias = found.values["bias"].sel(sparsity=f"{sparsity:g}", seed=seed).data
            torch.testing.assert_close(bias, b, atol=2e-4, rtol=1e-3)


def test_a_model_is_the_same_alone_and_among_others() -> None:
    among = train(5, 2, sparsity=[0.1, 0.9], n_seeds=3, **SHORT).weights(0.9, seed=2)
    alone = train(5, 2, sparsity=0.9, n_seeds=1, seed=2, **SHORT).weights(0.9)
    torch.testing.assert_close(among, alone, atol=1e-5, rtol=1e-4)


def test_a_sweep_of_importance_trains_the_models_of_single_calls(tmp_path: Path) -> None:
    options = SHORT | {"n_seeds": 2}
    found = importance_sweep([0.5, 1.0], 6, 3, sparsity=0.8, **options)
    for one in (0.5, 1.0):
        alone = train(6, 3, sparsity=0.8, importance=one, **options)
        torch.testing.assert_close(found.weights(importance=one), alone.weights(0.8), atol=1e-5, rtol=1e-4)
        at = {"importance": f"{one:g}"}
        torch.testing.assert_close(
            found.values["optimum"].sel(**at).data, alone.values["optimum"].sel(sparsity="0.8").data
        )
    assert found.table()["I"].tolist() == ["0.5", "1"]
    assert "at I = 0.5" in found.notes[0]
    assert "Not trained to the end: at I = 0.5" in found.notes[0]
    assert all(found.figure(i).data for i in range(len(found.plots)))
    assert load(found.save(tmp_path / "stored")).equal(found)
    with pytest.raises(InputError, match="differ in importance; give the importance of one"):
        found.weights(0.8)
    with pytest.raises(InputError, match="an importance is given twice"):
        importance_sweep([0.5, 0.5])


def test_linear_models_keep_the_most_important_features_whatever_the_sparsity() -> None:
    options: dict[str, Any] = {"n_steps": 400, "learning_rate": 0.03, "batch_size": 1024, "n_test": 65536}
    found = train(6, 2, sparsity=[0.0, 0.9], importance=0.6, model="linear", n_seeds=2, **options)
    ideal = torch.diag(torch.tensor([1.0, 1, 0, 0, 0, 0]))
    assert (found.values["best_gram"].data - ideal).abs().max() < 0.15
    loss, optimum = found.values["loss"].data, found.values["optimum"].data
    variance = torch.tensor([1 / 12, 0.1 / 3 - 0.01 / 4])
    torch.testing.assert_close(optimum, (0.6 ** torch.arange(2, 6)).sum() * variance)
    ratio = loss / optimum[:, None]
    assert (ratio > 0.99999).all()  # exact: no luck with the inputs takes it below the least possible loss
    assert (ratio.amin(1) < 1.01).all()
    assert "standard_error" in found.values
    assert not found.values["standard_error"].data.any()
    assert "±" not in found.table()
    assert f"Their losses are {float(ratio.min()):.4f} to {float(ratio.max()):.4f} times" in found.notes[1]


def test_linear_models_are_trained_to_their_end_by_default_and_the_sentence_says_what_became_of_them() -> None:
    found = train(5, 2, sparsity=[0.0, 0.9], model="linear")
    assert found.notes[1].startswith("Of 10 linear models 10 keep the 2 most important features and no others.")
    ratio = found.values["loss"].data / found.values["optimum"].data[:, None]
    assert float(ratio.max()) < 1.001
    assert "not trained to the end" not in found.notes[1]
    slow = train(5, 2, sparsity=[0.0, 0.9], model="linear", n_steps=100, learning_rate=0.02)
    assert "of 10 are above 1.01 and not trained to the end" in slow.notes[1]
    assert "Of 10 linear models 10 keep" not in slow.notes[1]
    equal = train(5, 2, sparsity=0.9, model="linear", importance=1.0, n_steps=20)
    assert equal.notes[1].startswith("Their losses are ")  # any two dimensions serve


def test_losses_come_with_the_error_of_measuring_them() -> None:
    options = SHORT | {"n_seeds": 1, "batch_size": 256, "importance": 0.7}
    found = train(4, 2, sparsity=0.5, **(options | {"n_test": 8192}))
    x = Draws(torch.tensor([0.5]), 4).batch([torch.Generator().manual_seed(99)], 400_000).x
    weights = {"W": found.values["W"].data, "bias": found.values["bias"].data}
    losses = ((relu_output(weights, x) - x).square() @ 0.7 ** torch.arange(4.0)).flatten()
    loss, error = (float(found.values[name].data) for name in ("loss", "standard_error"))
    assert error == pytest.approx(float(losses.std()) / 8192**0.5, rel=0.1)
    assert abs(loss - float(losses.mean())) < 4 * error
    assert "means over 8,192 drawn inputs, ± the standard error" in found.notes[1]
    assert found.table()["±"].tolist() == [error]


def test_features_represented_stand_over_the_inverse_density(sparse: ToyModels) -> None:
    counts = sparse.values["represented_mean"]
    assert counts.dims == ("inverse_density",)
    assert counts.axes[0].labels == ("1", "20")
    (plot,) = [plot for plot in sparse.plots if plot.values == "represented_mean"]
    assert plot.options["log_x"]
    assert plot.options["x_label"] == "1/(1 - S)"


def test_captions_say_in_which_order_features_stand() -> None:
    for importance, order in (
        (0.5, "from the most to the least"),
        (1.0, "of equal"),
        (2.0, "from the least to the most"),
    ):
        found = train(3, 2, sparsity=0.5, importance=importance, n_seeds=1, **SHORT)
        assert f"features {order}" in found.plots[1].caption


def test_sparse_features_share_dimensions_and_dense_ones_do_not(sparse: ToyModels) -> None:
    counts = sparse.values["represented"].data
    assert counts[0].max() <= 3
    assert counts[1].max() == 5
    assert "Not trained" not in sparse.notes[0]
    assert (sparse.values["loss"].data < sparse.values["optimum"].data[:, None])[1].all()
    assert sparse.table()["shapes of the best"].tolist()[1] == "pentagon"
    assert sparse.values["vectors"].dims == ("sparsity", "feature", "coordinate")
    best = sparse.weights(0.95)
    assert best.norm(dim=0).min() > 0.5
    assert sparse.notes[0].startswith("Of 5 features in 2 dimensions are represented: ")


def test_results_are_stored_and_drawn(sparse: ToyModels, tmp_path: Path) -> None:
    again = load(sparse.save(tmp_path / "toys"))
    assert isinstance(again, ToyModels)
    assert again.equal(sparse)
    for i in range(len(again.plots)):
        assert again.figure(i).data
    assert again.sel(sparsity="0.95").figure().data


def test_the_door() -> None:
    assert interp.superposition.train is train
    with pytest.raises(AttributeError, match="no attribute 'trained'"):
        _ = interp.superposition.trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "from 0 to below 1, not 1; at 1 no feature is ever there"),
        ({"sparsity": -0.1}, "from 0 to below 1, not -0.1"),
        ({"sparsity": []}, "no sparsity was given"),
        ({"sparsity": [0.5, 0.5]}, "given twice"),
        ({"n_hidden": 7}, "7 hidden dimensions for 6 features leave nothing to share"),
        ({"n_hidden": 0}, "at least one feature and one hidden dimension"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"importance": [1.0, 0.5]}, "2 importances were given for 6 features"),
        ({"importance": 0.0}, "importances are above 0"),
        ({"n_seeds": 0}, "at least 1, not 0"),
        ({"seed": -1}, "seeds are whole numbers from 0"),
        ({"model": "tanh"}, "no toy model 'tanh'"),
        ({"step": 10}, "no option of training 'step'"),
        ({"together": "alone"}, "no way of features to be present together"),
        ({"together": "correlated", "group_size": 4}, "6 features cannot be divided into groups of 4"),
        ({"together": "anticorrelated", "sparsity": 0.3}, "use a sparsity of at least 0.5"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(options: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"n_features": 6, "n_hidden": 2, "sparsity": 0.9} | options
    with pytest.raises(InputError, match=message):
        train(**asked)
