"""Phase diagrams, geometry, correlated features, neurons, absolute values: small ones, held against what is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from interp import superposition
from interp.errors import InputError
from interp.results import Result, load
from interp.superposition import (
    AbsoluteValues,
    CorrelatedFeatures,
    FeatureGeometry,
    PhaseDiagram,
    PrivilegedBasis,
    ShapeCounts,
)

FAST: dict[str, Any] = {"learning_rate": 0.02, "n_test": 4096, "batch_size": 128}


@pytest.fixture(scope="module")
def phases() -> PhaseDiagram:
    """Six corners of the diagram of two features, well inside of their phases."""
    grid = {"sparsity": [0.0, 0.3, 0.95], "importance": [0.15, 6.0]}
    return superposition.phase_diagram(2, **grid, n_seeds=6, n_steps=400, learning_rate=0.03)


def same_when_stored(found: Result, tmp_path: Path) -> None:
    again = load(found.save(tmp_path / "stored"))
    assert type(again) is type(found)
    assert again.equal(found)
    assert all(again.figure(i).data for i in range(len(again.plots)))


def test_phases_are_those_of_the_closed_forms(phases: PhaseDiagram, tmp_path: Path) -> None:
    trained, ideal = phases.values["dimensionality"].data
    assert ideal.tolist() == [[0.0, 0.0, 0.5], [1.0, 1.0, 0.5]]
    assert (trained - ideal).abs().max() < 0.1
    loss, best = phases.values["loss"].data
    assert (loss < 1.005 * best).all()
    assert float(phases.values["agreement"].data) == 1
    assert phases.table()["closed form"].tolist() == [2, 2, 2]
    assert "100% of 6 cells" in phases.notes[0]
    assert "Not trained" not in phases.notes[0]
    same_when_stored(phases, tmp_path)


def test_every_cell_of_a_phase_diagram_has_starts_of_its_own_whatever_else_is_asked() -> None:
    start: dict[str, Any] = {"n_steps": 1, "learning_rate": 1e-9, "n_seeds": 4}
    found = superposition.phase_diagram(2, sparsity=[0.8, 0.9], importance=[0.5, 2.0], **start).values["norm"].data
    assert len(set(found.flatten().tolist())) == 4
    alone = superposition.phase_diagram(2, sparsity=[0.9], importance=[2.0], **start)
    assert float(alone.values["norm"].data) == pytest.approx(float(found[1, 1]), rel=1e-5)
    other = superposition.phase_diagram(2, sparsity=[0.9], importance=[2.0], seed=9, **start)
    assert float(other.values["norm"].data) != float(found[1, 1])


def test_the_share_of_starts_is_over_all_cells_and_has_an_interval() -> None:
    found = superposition.phase_diagram(2, sparsity=[0.9, 0.95, 0.98, 0.99], importance=5, n_steps=150, n_seeds=4)
    same = found.values["same_phase"].data
    assert len(set(same.flatten().tolist())) > 1  # shared starts made all cells here alike
    mean, low, high = (float(found.values[f"same_phase_{name}"].data) for name in ("mean", "low", "high"))
    assert mean == pytest.approx(float(same.mean()))
    assert low < mean < high
    assert f"{mean:.0%} [{low:.0%}, {high:.0%}]" in found.notes[-1]
    assert "80 starts" in found.notes[-1]
    assert "Every cell has starts of its own" in found.plots[1].caption


def test_phases_of_three_features() -> None:
    grid = {"sparsity": [0.0, 0.95], "importance": [0.15, 6.0]}
    found = superposition.phase_diagram(3, **grid, n_seeds=4, n_steps=300, learning_rate=0.03)
    trained, ideal = found.values["dimensionality"].data
    assert ideal.tolist() == [[0.0, 0.5], [1.0, 1.0]]
    assert (trained - ideal).abs().max() < 0.15
    with pytest.raises(InputError, match="2, 3 or 4 features, not 5"):
        superposition.phase_diagram(5)
    with pytest.raises(InputError, match="at least 2 values of sparsity, not 1"):
        superposition.phase_diagram(2, sparsity=1)
    with pytest.raises(InputError, match="above 0, each given once"):
        superposition.phase_diagram(2, importance=[1.0, 1.0])


def test_geometry_has_a_plateau_of_digons(tmp_path: Path) -> None:
    found = superposition.feature_geometry(20, 4, sparsity=[0.0, 0.7], n_steps=500, **FAST)
    assert isinstance(found, FeatureGeometry)
    assert found.values["mean"].data.tolist() == pytest.approx([1.0, 0.5], abs=0.06)
    shapes = found.values["shapes"]
    assert float(shapes.sel(shape="digon", inverse_density="3.33").data) == 8
    shares = found.values["dimensionality"].data
    assert (shares.sum(-1) <= 4.001).all()
    assert "plateau at 1/2, from 1/(1 - S) = 3.33 to 3.33" in found.notes[0]
    assert found.table()["features in shapes"].tolist()[1] == "8 digon"
    assert "Not trained" not in found.notes[0]
    same_when_stored(found, tmp_path)


def test_pentagons_of_five_features_in_two_dimensions(tmp_path: Path) -> None:
    found = superposition.shape_counts([(5, 2), (2, 1)], sparsity=0.97, n_seeds=6, n_steps=400, **FAST)
    assert isinstance(found, ShapeCounts)
    assert found.texts["best"] == ["pentagon", "digon"]
    assert found.values["starts"].data.sum(1).tolist() == pytest.approx([1, 1])
    assert found.values["best_dimensions"].data.tolist() == pytest.approx([0.4, 0.5], abs=0.01)
    assert found.values["expected_dimensions"].data.tolist() == pytest.approx([0.4, 0.5])
    assert found.table()["least loss"].tolist() == ["pentagon", "digon"]
    assert found.notes == []
    same_when_stored(found, tmp_path)
    with pytest.raises(InputError, match="no sizes were given"):
        superposition.shape_counts([])


def test_what_comes_together_lies_at_right_angles_and_what_excludes_itself_opposite(tmp_path: Path) -> None:
    found = superposition.correlated_features(sparsity=[0.6, 0.95], n_seeds=5, n_steps=500, **FAST)
    assert isinstance(found, CorrelatedFeatures)
    best = found.values["best_within"]
    assert float(best.sel(together="correlated", sparsity="0.6").data) > 0.9  # one direction for both: their sum
    assert abs(float(best.sel(together="correlated", sparsity="0.95").data)) < 0.2
    assert float(best.sel(together="anticorrelated", sparsity="0.6").data) < -0.9
    assert float(best.sel(together="anticorrelated", sparsity="0.95").data) < -0.9
    assert len(found.table()) == 6
    assert "anticorrelated" in found.notes[0]
    assert "-1.00 at S = 0.6" in found.notes[0]
    assert not any("Not trained" in note for note in found.notes)
    same_when_stored(found, tmp_path)


def test_a_set_that_comes_together_keeps_a_basis_at_right_angles(tmp_path: Path) -> None:
    found = superposition.correlated_features(8, 4, group_size=4, sparsity=0.95, n_seeds=2, n_steps=600, **FAST)
    within = found.values["within"].data[:, 0].abs().amax(-1)
    between = found.values["between"].data[:, 0].mean(-1)
    _, correlated, anticorrelated = range(3)
    assert within[correlated] < 0.1
    assert between[correlated] > 0.25  # eight in four dimensions: what does not overlap within, overlaps between
    assert between[anticorrelated] < 0.1  # opposite pairs of one group, at right angles to all others
    blocks = found.values["best_gram"].sel(panel="correlated, S = 0.95").data[:4, :4]
    assert torch.allclose(blocks, torch.eye(4), atol=0.15)
    assert "anticorrelated 0.0" in found.notes[-1]
    same_when_stored(found, tmp_path)


def test_neurons_stand_for_features_only_behind_a_relu(tmp_path: Path) -> None:
    found = superposition.privileged_basis(8, 4, sparsity=0.4, n_seeds=5, n_steps=700, **FAST)
    assert isinstance(found, PrivilegedBasis)
    linear, relu = found.values["concentration"].data.mean((-2, -1)).tolist()
    assert relu > linear + 0.2
    assert found.table().shape == (1, 5)
    assert f"{relu:.2f} against {linear:.2f} at S = 0.4" in found.notes[0]
    assert "Not trained" not in found.notes[0]
    same_when_stored(found, tmp_path)


def test_absolute_values_are_computed_by_pairs_of_neurons(tmp_path: Path) -> None:
    found = superposition.absolute_values(3, 6, sparsity=0.5, importance=1.0, n_seeds=5, n_steps=700, **FAST)
    assert isinstance(found, AbsoluteValues)
    assert float(found.values["loss"].data.amin()) < 1e-3
    assert float(found.values["dedicated"].data) == 0
    assert int(found.values["computed"].data.max()) == 3
    into = found.values["weights_in"].data[0]
    assert [int((into[:, i] > 0.3).sum()) for i in range(3)] == [1, 1, 1]
    assert [int((into[:, i] < -0.3).sum()) for i in range(3)] == [1, 1, 1]
    assert "Not trained" not in found.notes[0]
    same_when_stored(found, tmp_path)


def test_sparse_absolute_values_share_neurons_and_lose_less() -> None:
    found = superposition.absolute_values(8, 4, sparsity=0.97, n_seeds=4, n_steps=700, **FAST)
    assert float(found.values["relative"].data.min()) < 0.95
    assert float(found.values["concentration"].data.mean()) < 0.9
    assert found.plots[-1].values == "ratio_mean"
    assert torch.isfinite(found.values["weights_out"].data).all()


UNTRAINED: dict[str, Any] = {"n_steps": 20, "n_test": 4096, "n_seeds": 2}


@pytest.mark.parametrize(
    ("study", "size", "where"),
    [
        (superposition.train, {"n_features": 5, "n_hidden": 2, "sparsity": [0.7, 0.97]}, ["at S = 0.7, 0.97"]),
        (superposition.train, {"n_features": 5, "n_hidden": 2, "sparsity": 0.9, "model": "linear"}, ["at S = 0.9"]),
        (superposition.phase_diagram, {"sparsity": [0.0, 0.95], "importance": [0.2, 5.0]}, ["in 4 of 4 cells"]),
        (superposition.feature_geometry, {"n_features": 20, "n_hidden": 4, "sparsity": [0.5]}, ["at 1/(1 - S) = 2"]),
        (superposition.shape_counts, {"sizes": [(3, 2), (5, 2)], "sparsity": 0.9}, ["in 2 of 2 cases"]),
        (superposition.correlated_features, {"sparsity": [0.6, 0.9]}, ["at S = 0.6, 0.9"] * 3),
        (superposition.privileged_basis, {"sparsity": 0.5}, ["(linear hidden layer)", "(ReLU hidden layer)"]),
        (superposition.absolute_values, {"sparsity": [0.0, 0.9]}, ["at S = 0, 0.9 the least loss"]),
    ],
)
def test_untrained_models_are_called_so(study: Any, size: dict[str, Any], where: list[str]) -> None:
    told = " ".join(study(**size, **UNTRAINED).notes).split("Not trained to the end: ")[1:]
    assert len(told) == len(where)
    assert all(one in sentence for one, sentence in zip(where, told))
