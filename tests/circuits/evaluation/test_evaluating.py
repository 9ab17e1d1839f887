"""Judging circuits whose truth is known: the true one passes, random ones do not, and bad input is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.circuits import Circuit, Graph, score_edges
from interp.circuits.evaluation import Judge, evaluate, knock_out_sets, node_knockouts, random_circuits
from interp.circuits.evaluation.faithfulness import areas, curve_sizes
from interp.circuits.evaluation.findings import finding, verdict, what_it_cannot_say
from interp.circuits.evaluation.known_circuits import auroc, overlap, rank_correlation
from interp.circuits.evaluation.stability import bootstrap_jaccard
from interp.errors import InputError
from interp.models.toy import toy_module
from interp.results import load
from interp.tasks import for_toy
from interp.tasks.token_tensors import from_tokens
from tests.tiny_models import random_tokens, tiny


@pytest.fixture(scope="module")
def toy() -> Any:
    return interp.load_model("toy/induction")


@pytest.fixture(scope="module")
def truth(toy: Any) -> Circuit:
    return Circuit.from_edges(Graph.of(toy), toy_module("toy/induction").CIRCUIT)


@pytest.fixture(scope="module")
def report(toy: Any, truth: Circuit) -> Any:
    task = for_toy(toy, n=12, seed=0)
    wrong = random_circuits(truth, 30, seed=7)
    unequal = next(circuit for circuit in wrong if circuit.iou(truth) < 0.5)
    scores = score_edges(toy, task, method="exact", keep_examples=True)
    known = ["a0.0", "a1.0"]
    circuits = {"true": truth, "random": unequal}
    return evaluate(toy, task, circuits, scores=scores, sizes=(1, 3, 5, 20, 29), known=known, n_random=30)


@pytest.fixture(scope="module")
def redundant() -> Any:
    return interp.load_model("toy/two_circuits")


FOR, NOTHING = "rejected: for the circuit", "not rejected: nothing for the circuit"


def answers(report: Any) -> dict[str, str]:
    frame = report.tests().set_index("test")
    assert list(frame.index) == ["equivalence", "independence", "minimality", "sufficiency", "partial_necessity"]
    return dict(frame["verdict"])


def test_a_true_circuit_passes(redundant: Any) -> None:
    graph, task = Graph.of(redundant), for_toy(redundant, n=12, seed=0)
    true = Circuit.from_edges(graph, toy_module("toy/two_circuits").TRUTH.sufficient[-1])
    report = evaluate(redundant, task, true, n_random=30)
    found = answers(report)
    assert all(found[test] == "not rejected" for test in ("equivalence", "minimality"))
    assert found["sufficiency"] == "rejected: for the circuit"
    assert found["independence"] == "undecided", "without the circuit all prompts score alike"
    assert report.settings["random_p"] == pytest.approx(1 / 31)
    # In so small a graph one random circuit in five holds the edges into the logits, and cuts as deep.
    assert 0.7 < report.tests().set_index("test").loc["partial_necessity", "statistic"] < 0.9


def test_the_strongest_edges_are_sufficient_and_necessary_beside_random_ones() -> None:
    model, task = tiny("native"), random_pairs()
    scores = score_edges(model, task, method="exact")
    found = answers(evaluate(model, task, scores.top(20, by="signed"), n_random=30, n_knocked_out=0))
    assert (found["sufficiency"], found["partial_necessity"]) == (FOR, FOR)
    weakest = Circuit(scores.graph, scores.graph.exists & (scores.score.abs() < scores.score.abs().nanmedian()))
    found = answers(evaluate(model, task, weakest, n_random=30, n_knocked_out=0))
    assert (found["sufficiency"], found["partial_necessity"]) == (NOTHING, NOTHING)


def random_pairs(n: int = 12) -> Any:
    answers, distractors = random_tokens(n, 1, 2), random_tokens(n, 1, 3)
    distractors = (distractors + (distractors == answers).long()) % 100
    clean = random_tokens(n, 7, 0)
    corrupt = torch.cat([clean[:, :2], random_tokens(n, 7, 1)[:, 2:]], dim=1)
    return from_tokens(clean, corrupt, answers, distractors)


def test_a_random_circuit_fails(redundant: Any) -> None:
    graph, task = Graph.of(redundant), for_toy(redundant, n=12, seed=0)
    true = Circuit.from_edges(graph, toy_module("toy/two_circuits").TRUTH.sufficient[0])
    wrong = next(circuit for circuit in random_circuits(true, 30, seed=7) if circuit.iou(true) < 0.3)
    judged = evaluate(redundant, task, wrong, n_random=30, n_knocked_out=0)
    found = answers(judged)
    assert all(found[test] == "rejected: against the circuit" for test in ("equivalence", "minimality"))
    assert all(found[test] == NOTHING for test in ("sufficiency", "partial_necessity"))
    assert verdict(judged) == "not found"
    assert finding(judged, "two", "a toy").startswith(
        "Not found: these edges are not shown to be a circuit for two in a toy. "
    )
    assert float(judged.values["faithfulness"].data[0]) == pytest.approx(0.0, abs=1e-4)
    assert judged.settings["random_p"] > 0.5


def test_the_ends_of_the_scale_and_the_curve(report: Any) -> None:
    assert report.values["faithfulness"].data[0] == pytest.approx(1.0, abs=1e-5)
    assert report.values["kl"].data[0].max() < 1e-5
    curve = report.values["curve"].data[0]
    assert curve[2:].tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)  # the five true edges and more
    assert curve[0] == pytest.approx(0.0, abs=1e-5)
    assert report.values["curve_p"].data[2] < 0.2  # with so few edges one random circuit in seven is the true one
    assert torch.isnan(report.values["curve_p"].data[-1])  # the whole graph has nothing to compare with
    assert report.values["stability"].data.min() == 1.0
    assert report.sel(measure="node_auroc").values["known"].data == 1.0


def test_the_circuits_own_size_has_its_own_random_circuits(toy: Any, truth: Circuit) -> None:
    task = for_toy(toy, n=8, seed=0)
    circuits = [truth, Circuit.full(truth.graph)]
    judged = evaluate(toy, task, circuits, n_random=30, n_random_elsewhere=3, tests=(), n_knocked_out=0)
    assert float(judged.values["curve_p"].data[0]) == pytest.approx(judged.settings["random_p"])
    drawn = judged.values["random"].data
    assert judged.values["curve"].data[1, 0] == pytest.approx(float(drawn.quantile(0.5)))
    same = judged.settings["random_same"]
    # Two of its five edges suffice as well, and some random circuits hold them.
    others = Judge(toy, task).measure(random_circuits(truth, 30, seed=0)).metric
    assert same == int(((others - judged.values["metric"].data[0]).abs() < 1e-3).all(1).sum()) > 0
    assert f"{same} of the 30 random circuits score as this one does" in " ".join(what_it_cannot_say(judged))
    assert judged.settings["random_p"] >= (1 + same) / 31


def test_what_was_found_is_a_sentence_with_its_numbers(report: Any) -> None:
    assert verdict(report) == "found"
    said = finding(report, "induction", "a toy")
    assert said.startswith("Found: a circuit for induction in a toy. 5 edges of 29 (17 %) keep 1.00 [1.00, 1.00]")
    assert "30 random circuits of its size keep" in said
    alone = replace(report, values={name: held for name, held in report.values.items() if name != "random"})
    assert verdict(alone) == "not compared"


def test_a_smaller_circuit_that_does_as_well_is_named(report: Any, toy: Any, truth: Circuit) -> None:
    said = what_it_cannot_say(report)
    assert said[0] == "A smaller circuit does as well: 3 edges of the curve reach 1.00, these 1.00."
    task = for_toy(toy, n=8, seed=0)
    judged = evaluate(toy, task, [Circuit.full(truth.graph), truth], tests=(), n_random=0, n_knocked_out=0)
    assert "A smaller circuit does as well: 5 edges of the curve reach 1.00, these 1.00." in what_it_cannot_say(judged)


def test_sets_and_effects_are_there_to_be_read(report: Any) -> None:
    sets = report.settings["knocked_out"]
    greedy = [label for label in report.values["completeness"].axes[1].labels if label.startswith("greedy: ")]
    assert greedy
    assert all(label == "greedy: " + " ".join(sets[label]) for label in greedy)
    titles = [plot.title for plot in report.plots]
    assert {"Minimality", "Quantiles over prompts: KL"} <= set(titles)
    ordered = report.values["effects_in_order"].data
    assert ordered[0, -1] == pytest.approx(float(report.values["edge_effect"].data.max()))
    assert ordered[1, 0] == pytest.approx(float(report.values["added_effect"].data.min()))


def test_every_number_says_what_it_depends_on(report: Any) -> None:
    text = str(report.ablation)
    for part in ("edges", "counterfactual", "all positions", "noise", "toy/induction (n=12"):
        assert part in text
    assert all(text in values.description for values in report.values.values())
    assert all(text in plot.caption for plot in report.plots)
    summary = report.summary()
    assert set(summary["ablation"]) == {text}
    assert {"m(model) (logits)", "m(no edge) (logits)", "known: node_recall"} <= set(summary["quantity"])
    assert {"faithfulness", "cmd", "cpr", "p against random", "stability", "incompleteness"} <= set(summary["quantity"])
    assert "no upper bound" in summary.set_index("quantity").loc["cpr", "note"]


def test_a_report_is_drawn_and_comes_back_from_disk(report: Any, tmp_path: Path) -> None:
    assert load(report.save(tmp_path / "report")).equal(report)
    for i in range(len(report.plots)):
        assert report.figure(i).to_plotly_json()["data"]


def test_sufficient_sets_of_a_toy_are_faithful_under_their_ablation(toy: Any, truth: Circuit) -> None:
    task = for_toy(toy, n=8, seed=2)
    for value, edges in (("counterfactual", toy_module("toy/induction").TRUTH.sufficient[0]), ("zero", truth.edges())):
        circuit = Circuit.from_edges(truth.graph, edges)
        judged = evaluate(toy, task, circuit, value=value, tests=(), n_random=0, n_knocked_out=0)
        faithful = float(judged.values["faithfulness"].data[0])
        # Zero ablation also takes the positions away that the circuit attends by.
        assert (faithful == pytest.approx(1.0, abs=1e-4)) == (value == "counterfactual")


def test_denoising_restores_what_the_circuit_carries(toy: Any, truth: Circuit) -> None:
    judged = evaluate(
        toy, for_toy(toy, n=8, seed=0), [truth, Circuit.empty(truth.graph)], direction="denoise", tests=(), n_random=0,
        n_knocked_out=0,
    )  # fmt: skip
    assert judged.values["faithfulness"].data.tolist() == pytest.approx([1.0, 0.0], abs=1e-4)
    assert judged.ablation.direction == "denoise"


def test_knock_outs_find_the_parts_that_matter_and_those_that_step_in(toy: Any, truth: Circuit) -> None:
    judge = Judge(toy, for_toy(toy, n=8, seed=0))
    lost = node_knockouts(judge, truth, ["a0.0", "a1.0"])
    assert lost.min() > 0.4
    assert knock_out_sets(judge, truth).incompleteness.max() < 1e-4  # nothing stands in for this circuit
    backup = interp.load_model("toy/backup")
    stated = toy_module("toy/backup").TRUTH.sufficient[0]
    part = Circuit.from_edges(Graph.of(backup), stated)
    assert knock_out_sets(Judge(backup, for_toy(backup, n=8, seed=0)), part).incompleteness.max() > 0.1


def test_areas_are_mibs_trapezoids() -> None:
    shares, curve = torch.tensor([0.1, 0.5, 1.0]), torch.tensor([0.5, 1.5, 1.0])
    found = areas(shares, curve)
    assert found["cpr"] == pytest.approx(0.4 * 1.0 + 0.5 * 1.25)
    assert found["cmd"] == pytest.approx(0.4 * 0.5 + 0.5 * 0.25)
    assert areas(shares, torch.ones(3))["log_cpr"] == pytest.approx(1.0)
    assert curve_sizes(1000) == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def test_agreement_with_what_is_known(toy: Any, truth: Circuit) -> None:
    assert auroc(torch.tensor([3.0, 1.0, 1.0, 0.0]), torch.tensor([True, True, False, False])) == pytest.approx(0.875)
    found = overlap(truth, truth.__class__.from_edges(truth.graph, [*truth.edges()[:3], ("embed", "a1.1.q")]))
    assert found["edge_precision"] == pytest.approx(3 / 5)
    assert found["edge_recall"] == pytest.approx(3 / 4)
    assert overlap(truth, ["a0.0", "a0.1"])["node_jaccard"] == pytest.approx(1 / 3)
    exact = score_edges(toy, for_toy(toy, n=4), method="exact")
    assert rank_correlation(exact, exact) == pytest.approx(1.0)
    with pytest.raises(InputError, match="keep_examples"):
        bootstrap_jaccard(exact, 5)
    with pytest.raises(InputError, match="node"):
        overlap(truth, ["a9.9"])


def test_noisy_scores_are_unstable(toy: Any, truth: Circuit) -> None:
    scores = score_edges(toy, for_toy(toy, n=8), method="eap", keep_examples=True)
    noise = torch.randn(scores.values["per_example"].data.shape, generator=torch.Generator().manual_seed(0))
    values = dict(scores.values)
    values["per_example"] = type(values["per_example"])(noise, values["per_example"].axes)
    noisy = type(scores)(values=values, settings=scores.settings, provenance=scores.provenance)
    assert bootstrap_jaccard(noisy, 5).mean() < 0.8


def test_bad_input_is_refused_in_one_sentence(toy: Any, truth: Circuit) -> None:
    task = for_toy(toy, n=4, seed=0)
    with pytest.raises(InputError, match="one pair"):
        evaluate(toy, task[0], truth)
    same = from_tokens(task.clean, task.clean, task.answers, task.distractors, prepend_bos=True)
    with pytest.raises(InputError, match="are the same"):
        evaluate(toy, same, truth)
    foreign = from_tokens(random_tokens(4, 5, 0) + 13, random_tokens(4, 5, 1) + 13, task.answers, task.distractors)
    with pytest.raises(InputError, match="another tokenizer"):
        evaluate(toy, foreign, truth)
    with pytest.raises(InputError, match=r"differ in|another model|were made for"):
        evaluate(tiny("gpt2"), task, truth)
    scores = score_edges(toy, task, method="eap")
    with pytest.raises(InputError, match="30 edges does not fit"):
        evaluate(toy, task, truth, scores=scores, sizes=(30,))
    with pytest.raises(InputError, match="needs scores"):
        evaluate(toy, task, truth, sizes=(3,))
    with pytest.raises(InputError, match="no circuit"):
        evaluate(toy, task, [])
    with pytest.raises(InputError, match="choose 0 to 0"):
        evaluate(toy, task, truth, headline=1)
    with pytest.raises(InputError, match="test 'fairness'"):
        evaluate(toy, task, truth, tests=("fairness",))


def test_metrics_that_are_no_numbers_are_refused(toy: Any, truth: Circuit) -> None:
    from dataclasses import replace

    task = for_toy(toy, n=4, seed=0)

    class Broken(type(task.metric.score)):  # type: ignore[misc]
        def __call__(self, values: torch.Tensor) -> torch.Tensor:
            return super().__call__(values) * float("nan")

    broken = Broken(task.answers, task.distractors)
    with pytest.raises(InputError, match="nan for prompt"):
        evaluate(toy, replace(task, metric=replace(task.metric, score=broken)), truth)
