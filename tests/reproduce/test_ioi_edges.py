"""The circuit of edges in the IOI experiment, on a random model that knows the words of the prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interp import tasks
from interp.reproduce import ioi_edges
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_edges import EdgeSettings, edge_section
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.published_ioi import PUBLISHED, heads_by_class, published_nodes
from interp.runs import open_run
from interp.viz import Report
from tests.reproduce.test_ioi import reading_model

SETTINGS = EdgeSettings(n=5, steps=2, share=0.2, n_random=5, n_random_elsewhere=2, every=2)


def go(root: Path, settings: EdgeSettings = SETTINGS, model: Any = None) -> tuple[Experiment, dict[str, Any], str]:
    model = reading_model(1.0) if model is None else model
    report = Report("tiny")
    with open_run("ioi", {}, root=root) as run:
        experiment = Experiment(model, run, report, "ioi")
        edge_section(experiment, tasks.ioi(model, n=2, seed=5), {"name mover": [(3, 0), (3, 1)]}, settings)
        return experiment, run.results(), report.html.replace("\N{NO-BREAK SPACE}", " ")


def test_the_section_says_what_the_results_hold(tmp_path: Path) -> None:
    experiment, results, page = go(tmp_path)
    judged, circuit = results["ioi-edge-evaluation"], results["ioi-edge-circuit"].circuit
    assert circuit.n_edges == round(0.2 * circuit.graph.n_edges)
    (row,) = experiment.table().to_dict("records")
    assert row["what"] == f"faithfulness of {circuit.n_edges} edges"
    assert row["value"] == pytest.approx(float(judged.values["faithfulness"].data[0]))
    assert row["low"] <= row["value"] <= row["high"]
    assert f"the top {circuit.n_edges} keep" in page
    assert f"The top {circuit.n_edges} (20 %)" in page
    assert "5 random circuits" in page
    assert f"Of {circuit.graph.n_edges} edges the top" in page  # whatever sizes the curve leaves out
    assert "of the 2 heads with a role" in page
    # Found on prompts of the experiment's seed, judged on others.
    assert results["ioi-edge-scores"].provenance.task["seed"] == 5
    assert judged.provenance.task["seed"] == 6


def test_what_a_model_cannot_do_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = reading_model(1.0)
    model.unembed.weight.zero_()
    experiment, _, page = go(tmp_path, model=model)
    assert "Not measured here" in page
    assert not experiment.headline


def test_small_experiments_get_the_quick_settings() -> None:
    assert EdgeSettings.of(IoiSettings.quick()) == EdgeSettings.quick()
    assert EdgeSettings.of(IoiSettings()) == EdgeSettings()
    assert ioi_edges.MOST < 1


def test_published_heads_of_a_circuit() -> None:
    everything = published_nodes()
    assert len(everything) == 26
    assert (heads_by_class(everything)["share"] == 1).all()
    table = heads_by_class(["a9.9", "a10.0", "m0"]).set_index("class")
    assert table.loc["name mover", "in the circuit"] == "9.9, 10.0"
    assert table.loc["name mover", "missing"] == "9.6"
    assert table.loc["induction", "share"] == 0
    assert set(table.index) == set(PUBLISHED)
    assert published_nodes(reading_model(1.0)) == ()
