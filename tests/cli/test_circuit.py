"""`interp circuit` on hand-built models, whose circuits are known, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import interp
from interp.circuits import Circuit, CircuitEdges, score_edges
from interp.circuits.searching import acdc, keeping
from interp.cli import answering, circuit_tables
from interp.cli import main as command_line
from interp.cli.programs import INTERRUPTED
from interp.models.toy import toy_module
from interp.models.toy.truth import NOISE
from interp.results import Result, load
from tests.cli.asking import TOY, Ask, results_of, rows_under
from tests.tasks.space_tokenizer import space_model

ASKED = ["--task", "toy", "--n", 4, "--quick"]
BESIDE = "the circuit on fresh prompts"


def circuit_file(root: Path) -> Path:
    (file,) = (root / "circuit").glob("*/circuit.json")
    return file


def test_acdc_finds_the_five_edges_and_says_how_good_they_are(ask: Ask, tmp_path: Path) -> None:
    out = ask("circuit", *ASKED, "--search", "acdc", "--threshold", 0.5)
    rows = {row[0]: row[1:] for row in rows_under(out, BESIDE)}
    assert rows["edges"] == ["5", "(17", "%)"]
    assert rows["nodes"] == ["2", "heads,", "0", "MLPs"]
    assert rows["faithfulness"][:3] == ["1.00", "[1.00,", "1.00]"]
    found = Circuit.load(circuit_file(tmp_path))
    assert set(found.edges()) == set(toy_module(TOY).TRUTH.active[NOISE])
    results = results_of(tmp_path, "circuit")
    assert sorted(results) == ["circuit", "evaluation", "exact", "scores"]
    # Judged on other prompts than those it was found on.
    assert results["evaluation"].provenance.task["seed"] == 1
    assert results["scores"].provenance.task["seed"] == 0
    assert "memory: scoring 4 prompts a pass" in out
    assert "ablation: edges of heads (q, k, v), counterfactual" in out


def test_scores_stand_beside_the_exact_effects(ask: Ask) -> None:
    out = ask("circuit", *ASKED, "--method", "eap", "--search", "acdc", "--threshold", 0.5)
    rows = {" ".join(row[:3]): [float(cell) for cell in row[3:]] for row in rows_under(out, "strongest edges")}
    assert len(rows) == 5
    # Gradients vanish in saturated attention; the edge matters all the same.
    score, _, exact = rows["a0.0 -> a1.0.k"]
    assert abs(score) < 0.1 < abs(exact)


def test_the_curve_has_the_found_size_and_random_circuits(ask: Ask, tmp_path: Path) -> None:
    out = ask("circuit", *ASKED, "--n-edges", 6, "--method", "exact")
    rows = rows_under(out, "circuits of the largest scores by number of edges")
    assert [row[0] for row in rows] == ["1", "6", "29"]
    (p,) = (float(row[1]) for row in rows_under(out, BESIDE) if row[0] == "p")
    report = results_of(tmp_path, "circuit")["evaluation"]
    random = report.values["random_unfaithfulness"].data
    assert p == pytest.approx((1 + int((random <= 1e-5).sum())) / 31, abs=1e-3)
    assert len(rows_under(out, "tests")) >= 3


def test_a_circuit_without_random_ones(ask: Ask, tmp_path: Path) -> None:
    out = ask("circuit", *ASKED, "--n-edges", 6, "--method", "eap", "--n-random", 0)
    assert "random circuits" not in out
    assert [row[0] for row in rows_under(out, "circuits of the largest scores by number of edges")] == ["1", "6", "29"]
    assert "random" not in results_of(tmp_path, "circuit")["evaluation"].plots[0].caption


@pytest.mark.parametrize("search", ["greedy", "stable", "hierarchical"])
def test_other_searches(search: str, ask: Ask, tmp_path: Path) -> None:
    by_score = search in ("greedy", "stable")
    wanted = ["--n-edges", 8, "--method", "eap-qk-fix"] if by_score else ["--threshold", 0.5]
    ask("circuit", *ASKED, "--search", search, *wanted)
    found = Circuit.load(circuit_file(tmp_path))
    assert found.settings["search"] == search
    assert 0 < found.n_edges <= (8 if by_score else 29)


def test_every_part_of_the_circuit_is_drawn_and_can_be_pointed_at(ask: Ask, tmp_path: Path) -> None:
    ask("circuit", *ASKED, "--n-edges", 7)
    (folder,) = (tmp_path / "circuit").iterdir()
    kept: Result = load(folder / "results" / "circuit")
    assert isinstance(kept, CircuitEdges)
    assert kept.circuit.equal(Circuit.load(folder / "circuit.json"))
    drawn = kept.figure().to_plotly_json()["data"]
    texts = " ".join(text for trace in drawn for text in trace.get("hovertext") or ())
    assert "score (logits)" in texts
    assert "std (logits)" in texts
    for writer, reader in kept.circuit.edges():
        assert f"{writer} → {reader}" in texts


def test_a_saved_circuit_is_judged_again(ask: Ask, tmp_path: Path) -> None:
    first = ask("circuit", *ASKED, "--search", "acdc", "--threshold", 0.5)
    file = tmp_path / "kept.json"
    file.write_bytes(circuit_file(tmp_path).read_bytes())
    again = ask("circuit", *ASKED, "--circuit", file, "--seed", 3)
    assert rows_under(first, BESIDE)[:4] == rows_under(again, BESIDE)[:4]


def test_exact_effects_are_of_the_ablation_that_the_circuit_is_judged_by(ask: Ask, tmp_path: Path) -> None:
    ask("circuit", *ASKED, "--search", "acdc", "--threshold", 0.5)
    file = tmp_path / "kept.json"
    file.write_bytes(circuit_file(tmp_path).read_bytes())
    shutil.rmtree(tmp_path / "circuit")
    out = ask("circuit", *ASKED, "--circuit", file, "--value", "zero")
    title = next(line for line in out.splitlines() if line.startswith("strongest edges"))
    assert "the circuit came without scores" in title
    rows = {" ".join(row[:3]): row[3:] for row in rows_under(out, "strongest edges")}
    assert len(rows) == 5
    assert all(len(cells) == 1 for cells in rows.values()), "no score stands where there is none"
    assert "exact: m(model) - m(model with the edge ablated); edges of heads (q, k, v), zero, all positions" in out
    model = interp.load_model(TOY)
    task, edges = interp.tasks.for_toy(model, n=4), Circuit.load(file).edges()
    exact = score_edges(model, task, "exact", edges=edges, value="zero")
    for edge in edges:
        assert float(rows[" -> ".join(edge)][0]) == pytest.approx(
            float(exact.score[exact.graph.edge_index(edge)]), rel=6e-3
        )
    drawn = str(results_of(tmp_path, "circuit")["circuit"].figure().to_plotly_json())
    assert "score" not in drawn


def test_scores_of_another_ablation_are_called_so(ask: Ask) -> None:
    out = ask("circuit", *ASKED, "--method", "eap", "--n-edges", 6, "--value", "zero")
    assert "note: scores by eap are counterfactual, while the circuit is judged under zero ablation" in out


def test_a_circuit_over_positions(ask: Ask, tmp_path: Path) -> None:
    out = ask("circuit", *ASKED, "--n-edges", 4, "--method", "eap", "--positions", "end", "--known", "a1.0")
    assert "over the positions end, and nothing is ablated at any other" in out
    assert "positions end, noise" in out
    assert {edge[1].split("@")[1] for edge in Circuit.load(circuit_file(tmp_path)).edges()} == {"end"}


def test_the_report_begins_with_what_was_found(ask: Ask, tmp_path: Path) -> None:
    out = ask("circuit", *ASKED, "--search", "acdc", "--threshold", 0.5)
    said = "Found: a circuit for the toy's task in toy/induction. 5 edges of 29 (17 %) keep 1.00"
    assert said in out
    (page,) = (tmp_path / "circuit").glob("*/report.html")
    text = page.read_text()
    assert text.index("Found: a circuit for the toy") < text.index("Table 1")
    assert text.count("null hypothesis</th>") == 1
    (config,) = (tmp_path / "circuit").glob("*/config.yaml")
    assert "n: 4" in config.read_text()


@pytest.mark.parametrize("options", [["--n", 1], ["--n-edges", 0], ["--circuit", "no.json"], ["--task", "no.jsonl"]])
def test_what_can_be_refused_is_refused_before_a_model_is_loaded(
    options: list[object], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    ask("circuit", *options, code=2)


def test_another_task_is_a_flag(ask: Ask, tmp_path: Path) -> None:
    ask("circuit", "--task", "induction", "--quick", "--n", 3, "--n-edges", 10)
    scores = results_of(tmp_path, "circuit")["scores"]
    assert scores.provenance.task["name"] == "induction"
    assert scores.provenance.task["settings"]["length"] <= 15


def test_a_known_circuit_is_compared_with(ask: Ask) -> None:
    out = ask("circuit", *ASKED, "--search", "acdc", "--threshold", 0.5, "--known", "a0.0", "a1.0")
    assert rows_under(out, "beside 2 known heads and MLPs")


def test_scores_without_effects_behind_them_are_called_so() -> None:
    table = pd.DataFrame({"edge": list("abcd"), "score": [9.0, -8.0, 7.0, 6.0], "exact": [0.1, 0.1, -0.1, 5.0]})
    said = circuit_tables.overrated(table, "eap-ig")
    assert said.startswith("note: 3 of the 4 strongest edges")
    assert not circuit_tables.overrated(table.assign(exact=[9.0, 0.1, 0.1, 5.0]), "eap-ig")
    assert not circuit_tables.overrated(table, "ugs"), "scores that are no effects estimate nothing"


def test_ctrl_c_during_acdc_keeps_what_was_decided(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["circuit", *ASKED, "--search", "acdc", "--threshold", 0.5, "--batch-size", 1]
    arguments = [*map(str, options), "--model", TOY, "--out", str(tmp_path)]
    decide = keeping.decide_all

    def interrupted(trials, state, damage, threshold, decided):  # type: ignore[no-untyped-def]
        def stop(now):  # type: ignore[no-untyped-def]
            decided(now)
            if now.n_decided >= 5:
                raise KeyboardInterrupt

        return decide(trials, state, damage, threshold, stop)

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "decide_all", interrupted)
        assert command_line.main(arguments) == INTERRUPTED
    assert "decisions are kept in" in capsys.readouterr().err
    (kept,) = (tmp_path / "circuit").glob("*/acdc.json")
    n_decided = json.loads(kept.read_text())["stages"]["edges"]["n_decided"]
    assert n_decided >= 5
    began: list[int] = []

    def noted(trials, state, damage, threshold, decided):  # type: ignore[no-untyped-def]
        began.append(state.n_decided)
        return decide(trials, state, damage, threshold, decided)

    monkeypatch.setattr(keeping, "decide_all", noted)
    assert command_line.main(arguments) == 0
    assert began == [n_decided]
    assert set(Circuit.load(circuit_file(tmp_path)).edges()) == set(toy_module(TOY).TRUTH.active[NOISE])
    assert not kept.exists()
    assert acdc.ORDERS[0] == Circuit.load(circuit_file(tmp_path)).settings["order"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", 1], "the task has one pair of prompts"),
        (["--n-edges", 30], "--n-edges 30, and the graph has 29; choose 1 to 29"),
        (["--n-edges", 0], "at least 1, not 0"),
        (["--steps", 0], "at least 1, not 0"),
        (["--positions", "S1"], "there is no role 'S1'"),
        (["--method", "eapig"], "did you mean 'eap-ig'"),
        (["--method", "ifr"], "use --search greedy"),
        (["--threshold", 1.0], "--search top takes --n-edges"),
        (["--search", "acdc", "--n-edges", 5], "--search acdc takes --threshold"),
        (["--search", "acdc", "--damage", "kl"], "has no default --threshold"),
        (["--circuit", "nowhere.json"], "there is no circuit at nowhere.json"),
        (["--metric", "accuracy"], "accuracy has no gradient"),
        (["--memory-budget", 0], "at least 1, not 0"),
        (["--batch-size", 0], "at least 1, not 0"),
        (["--n-random", -1], "0 for none, not -1"),
        (["--circuit", "."], "give a file that Circuit.save wrote"),
        (["--known", "a7.7"], "there is no node 'a7.7'"),
    ],
)
def test_mistakes_are_one_sentence(options: list[object], message: str, ask: Ask) -> None:
    assert message in ask("circuit", "--task", "toy", "--n", 4, "--quick", *options, code=2)


def test_equal_prompts_are_refused(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = space_model(dict.fromkeys(["The", "capital", "is", "Paris", "Rome"]))
    monkeypatch.setattr(answering, "load_model", lambda *_, **__: model)
    file = tmp_path / "same.jsonl"
    line = {"clean": "The capital is", "corrupt": "The capital is", "answer": " Paris", "distractor": " Rome"}
    file.write_text("\n".join(json.dumps(line) for _ in range(4)))
    assert "are the same" in ask("circuit", "--task", file, "--quick", code=2)


def test_a_circuit_of_another_model_is_refused(ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask("circuit", *ASKED, "--search", "acdc", "--threshold", 0.5)
    file = circuit_file(tmp_path)
    other = [*map(str, ["circuit", *ASKED]), "--circuit", str(file), "--model", "toy/and", "--out", str(tmp_path / "b")]
    assert command_line.main(other) == 2
    assert "this belongs to another model (toy/induction), not to toy/and" in capsys.readouterr().err


def test_ground_truth_prints_what_methods_find_and_miss(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["--methods", "exact", "eap", "--toys", TOY, "--n", "3", "--out", str(tmp_path)]
    assert command_line.main(["circuit", "ground-truth", *asked]) == 0
    out = capsys.readouterr().out
    assert "eap is blind to" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(f" {TOY}")]
    assert {row[1]: row[3] for row in rows if row[2] == "exact"} == {"noise": "1", "denoise": "1"}
    (page,) = tmp_path.glob("circuit-ground-truth/*/report.html")
    assert "Number of active edges that get less than 1" in page.read_text()
