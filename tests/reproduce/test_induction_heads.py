"""Induction heads end to end: on tiny models in seconds, and on the real one against what is known about it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import interp
from interp.cli import main as command_line
from interp.cli import reproduce
from interp.heads import HeadScores, composition_scores, scores
from interp.reproduce import InductionSettings, induction_composition, run_induction, text_knock_outs
from interp.reproduce.detected_heads import Detected
from interp.reproduce.induction_copying import _ranks
from interp.reproduce.induction_texts import Places, context_gained
from interp.reproduce.phase_change import PhaseChangeSettings
from interp.results import FEWEST, Result, load
from interp.runs import open_run
from interp.tasks import passage_tokens
from interp.viz import Report, check_page, screenshot
from tests.tiny_models import random_tokens, tiny

TRAINING = PhaseChangeSettings(
    n_steps=4,
    n_seeds=1,
    d_model=16,
    n_heads=2,
    n_ctx=16,
    d_vocab=12,
    batch_size=4,
    shortest=2,
    longest=5,
    examine_every=2,
    n=5,
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five texts of 240 words that tiny models know, in paragraphs of twelve."""
    folder = tmp_path_factory.mktemp("texts")
    generator = torch.Generator().manual_seed(0)
    for i in range(5):
        words = [f"w{int(word)}" for word in torch.randint(3, 40, (240,), generator=generator)]
        (folder / f"{i}.txt").write_text("\n\n".join(" ".join(words[j : j + 12]) for j in range(0, 240, 12)))
    return folder


def small(texts: Path, **changes: Any) -> InductionSettings:
    settings: dict[str, Any] = {"n": 5, "length": 8, "views": 1, "n_copying": 2, "n_knock_out": 5, "n_random": 5}
    settings |= {"n_texts": 5, "n_texts_knock_out": 5, "n_random_texts": 5, "phase_change": TRAINING}
    return InductionSettings(texts=str(texts), **settings | changes)


def go(model: Any, settings: InductionSettings, root: Path) -> tuple[Any, dict[str, Result], Report]:
    report = Report("tiny")
    with open_run("induction", {"seed": settings.seed}, root=root) as run:
        return run_induction(model, settings, run, report), run.results(), report


def sections(report: Report) -> dict[str, str]:
    return {section.title: section.text for section in report._sections}


def words(report: Report) -> str:
    """The text of the page, without its figures."""
    body = report.html.split("<body>")[1]
    body = re.sub(r"<script.*?</script>", " ", body, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


EVERYTHING = {
    "induction-loss",
    "induction-scores",
    "induction-eigenvalues",
    "induction-copying-embedding",
    "induction-copying-first-block",
    "induction-copying-stream",
    "induction-copying-compared",
    "induction-knock-out-zero",
    "induction-knock-out-mean",
    "induction-knock-out-pattern-preserving",
    "induction-knock-outs-compared",
    "induction-composition",
    "induction-composition-compared",
    "induction-in-context",
    "induction-text-knock-out",
    "phase-change-1-layer",
    "phase-change-2-layers",
    "phase-change-compared",
}


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox", "gemma2"])
def test_all_questions_on_a_tiny_model(name: str, texts: Path, tmp_path: Path) -> None:
    found, results, report = go(tiny(name), small(texts, prepend_bos=name == "gpt2"), tmp_path)
    assert set(results) == EVERYTHING
    assert "Not measured" not in report.html
    table = found.table()
    enough = table[table.n >= FEWEST]
    assert ((enough.low <= enough.value + 1e-6) & (enough.value <= enough.high + 1e-6)).all()
    assert table[table.n < FEWEST].low.isna().all()
    assert (
        {"prompts", "heads", "draws", "texts"} < set(table.of) < {"prompts", "heads", "draws", "texts", "pair", "pairs"}
    )
    assert "nan" not in re.findall(r"\w+", words(report))
    assert len(sections(report)) == 8
    # In a model with random weights nothing is detected, and the report does not pretend otherwise.
    assert "need not be any" in sections(report)["Induction: the heads"]
    assert "candidate induction heads" in sections(report)["Induction: without these heads"]
    assert "No head looks back as an induction head does" in words(report)
    assert not [name for name in table.what if name.startswith("induction head")]
    assert "highest induction score, head" in " ".join(table.what)


@pytest.mark.parametrize("name", ["native", "native-rotary", "native-attention-only"])
def test_a_model_without_a_tokenizer_is_asked_the_rest(name: str, texts: Path, tmp_path: Path) -> None:
    found, results, report = go(tiny(name), small(texts), tmp_path)
    assert set(results) >= EVERYTHING - {"induction-in-context", "induction-text-knock-out"} - {
        "induction-composition-compared"
    }
    told = sections(report)
    assert "has no tokenizer" in told["Induction: in-context learning on text"]
    assert [sentence for sentence in found.skipped if sentence.startswith("in-context learning on text: ")]
    assert "Not measured in-context learning on text" in words(report)
    assert "Induction: text without these heads" not in told


def test_a_short_context_takes_fewer_tokens(texts: Path, tmp_path: Path) -> None:
    found, _, report = go(tiny("llama"), small(texts, length=500, phase_change=None), tmp_path)
    assert "5 prompts of 32 random tokens" in sections(report)["Induction: what repetition saves"]
    assert "tokens 58 to 63 less tokens 6 to 11" in sections(report)["Induction: in-context learning on text"]
    assert not [name for name in found.table().what if "layer" in name]


def test_the_toy_shows_what_it_was_built_for(texts: Path, tmp_path: Path) -> None:
    found, results, report = go(interp.load_model("toy/induction"), small(texts, length=12, n=8), tmp_path)
    told = sections(report)
    assert "1 previous-token head (0.0)" in told["Induction: the heads"]
    assert "1 induction head (1.0)" in told["Induction: the heads"]
    effect = results["induction-knock-outs-compared"].values["second_copy"].sel(way="zero").data
    assert effect[0] > 1.0
    assert effect[1] == 0.0
    assert "of the effect does not go through where later heads look" in told["Induction: without these heads"]
    assert found.table().what.tolist()[3:6] == [
        "previous-token head 0.0",
        "highest duplicate-token score, head 1.1, below 0.4",
        "induction head 1.0",
    ]
    assert "1 head looks back as induction heads do, most of all 1.0" in words(report)
    assert "nan" not in re.findall(r"\w+", words(report))
    composed = results["induction-composition-compared"]
    assert composed.values["above"].sel(source="0.0", destination="1.0").data > 0.1


def test_few_prompts_are_told_without_intervals(texts: Path, tmp_path: Path) -> None:
    few = {"n": 3, "n_knock_out": 3, "n_random": 3, "n_texts": 3, "n_texts_knock_out": 2, "n_random_texts": 2}
    found, _, report = go(tiny("llama"), small(texts, phase_change=None, **few), tmp_path)
    table, told = found.table(), words(report.headline(found.numbers()))
    assert table[table.n < FEWEST].low.isna().all()
    assert "no intervals, since 3 prompts are too few for any" in told
    assert "no interval, since fewer than 5 are too few for one" in told
    assert "too few prompts or draws to tell them from random heads" in told
    assert "the range of 95\u00a0% over" not in told
    assert "cannot be told from random heads" not in told  # nothing is claimed of three prompts


def test_texts_that_are_not_there_are_missed_in_a_sentence(tmp_path: Path) -> None:
    _, results, report = go(tiny("llama"), small(tmp_path / "nowhere", phase_change=None), tmp_path / "runs")
    assert "there are no texts at" in sections(report)["Induction: in-context learning on text"]
    assert "induction-composition-compared" in results


def test_an_interrupted_experiment_goes_on_where_it_stopped(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the steps: the second session computes only what the first one had not."""
    from interp import heads

    settings = small(texts, phase_change=None)
    calls: list[str] = []
    whole = heads.repeated_loss

    def counted(*args: Any, **options: Any) -> Any:
        calls.append("loss")
        return whole(*args, **options)

    def interrupted(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(heads, "repeated_loss", counted, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(heads, "knock_out", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            go(tiny("llama"), settings, tmp_path)
    go(tiny("llama"), settings, tmp_path)
    assert calls == ["loss"]
    assert len(list((tmp_path / "induction").iterdir())) == 1


# ---- the parts, against the obvious way -------------------------------------------------------------------------


def detected(induction: Sequence[tuple[int, int]], previous: Sequence[tuple[int, int]]) -> Detected:
    heads = {"previous": tuple(previous), "duplicate": (), "induction": tuple(induction)}
    return Detected(heads, heads)


def test_heads_are_detected_by_their_scores() -> None:
    measured: HeadScores = scores(interp.load_model("toy/induction"), n=4, length=8)
    found = Detected.by_score(measured)
    assert found.heads["induction"] == ((1, 0),)
    assert found.heads["previous"] == ((0, 0),)
    assert found.every() == [(0, 0), (1, 0)]
    assert found.asked("induction", 5) == ((1, 0),)
    assert found.caution() == ""


def test_ranks_go_from_zero_to_one_and_share_ties() -> None:
    ranks = _ranks(torch.tensor([[3.0, 1.0, 2.0, 2.0, 9.0]]))
    torch.testing.assert_close(ranks, torch.tensor([[0.75, 0.0, 0.375, 0.375, 1.0]]))


def test_groups_of_pairs_against_a_loop() -> None:
    model = tiny("llama")
    found = detected(induction=[(3, 1), (2, 0)], previous=[(1, 2), (0, 3)])
    whole = composition_scores(model, offset=7)
    compared = induction_composition.compare_composition(
        model, whole, found, found.asked("previous"), found.asked("induction")
    )
    score = whole.values["score"]
    neither_sources = [f"{layer}.{head}" for layer in (0, 1) for head in range(4) if (layer, head) not in found.every()]
    neither_ends = [f"{layer}.{head}" for layer in (2, 3) for head in range(4) if (layer, head) not in found.every()]
    groups = [(["1.2", "0.3"], ["3.1", "2.0"]), (["1.2", "0.3"], neither_ends)]
    groups += [(neither_sources, ["3.1", "2.0"]), (neither_sources, neither_ends)]
    for i, (sources, ends) in enumerate(groups):
        each = [float(score.sel(source=source, destination=end).data) for source in sources for end in ends]
        assert compared.values["score"].data[i].item() == pytest.approx(sum(each) / len(each), rel=1e-5)
        assert compared.values["n"].data[i] == len(each)
    best = float(score.sel(source="1.2", destination="3.1").data)
    assert compared.values["exceeded"].sel(source="1.2", destination="3.1").data.item() == pytest.approx(
        sum(value >= best for value in each) / len(each)
    )


def test_tokens_that_continue_a_pair() -> None:
    tokens = torch.tensor([5, 6, 7, 5, 6, 6, 6, 7, 5])
    expected = [False, False, False, False, True, False, True, True, True]
    assert text_knock_outs.continues_a_pair(tokens).tolist() == expected


def test_texts_without_heads_against_hooks_put_on_by_hand() -> None:
    model, heads = tiny("llama"), [(1, 0), (2, 3)]
    tokens = torch.cat([random_tokens(3, 15), random_tokens(3, 15)], dim=1)
    found = text_knock_outs.text_knock_out(model, heads, tokens, 4, 20, 3, n_random=2)

    def losses() -> torch.Tensor:
        return -model(tokens).log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]

    intact = losses()
    with interp.intervene(model, *(interp.ablate(interp.sites.z(layer), heads=[head]) for layer, head in heads)):
        change = losses() - intact
    # Entry i of a row is the loss of token i + 1.
    early, late = change[:, 3:6].mean(1), change[:, 19:22].mean(1)
    torch.testing.assert_close(
        found.values["per_prompt"].data[:, :3], torch.stack([early, late, late - early], 1), atol=1e-4, rtol=1e-4
    )
    again = torch.stack([text_knock_outs.continues_a_pair(row) for row in tokens])[:, 1:]
    expected = torch.stack([row[mask].mean() for row, mask in zip(change, again)])
    torch.testing.assert_close(found.values["per_prompt"].data[:, 3], expected, atol=1e-4, rtol=1e-4)
    assert all(set(draw).isdisjoint({"1.0", "2.3"}) for draw in found.settings["draws"])


@pytest.mark.parametrize("bos", [False, True])
def test_the_same_tokens_with_less_context(bos: bool, texts: Path) -> None:
    model, places = tiny("llama"), Places(early=4, late=30, window=3)
    tokens = passage_tokens(model, 3, places.n_tokens, prepend_bos=bos, source=texts)
    found = context_gained(model, tokens, places, bos, {"name": "test"})
    plain = torch.Tensor(tokens).long()
    cut = plain[:, 26:].clone()
    if bos:
        cut[:, 0] = 1
    whole = -model(plain).log_softmax(-1)[:, 29:32].gather(-1, plain[:, 30:33, None])[..., 0].mean(1)
    short = -model(cut).log_softmax(-1)[:, 3:6].gather(-1, plain[:, 30:33, None])[..., 0].mean(1)
    each = found.values["per_prompt"].data
    torch.testing.assert_close(each[:, 1], whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(each[:, 3], short, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(each[:, 4], whole - short, atol=1e-4, rtol=1e-4)


# ---- the command -------------------------------------------------------------------------------------------------


def test_the_commands_options_reach_the_settings() -> None:
    config = reproduce.Induction(n=5, length=9, seed=3, bos=True, texts="mine/", revisions="some/model", quick=True)
    settings = reproduce._induction(config)
    assert (settings.n, settings.length, settings.seed, settings.prepend_bos) == (5, 9, 3, True)
    assert (settings.texts, settings.revisions) == ("mine/", "some/model")
    assert settings.n_random == InductionSettings.quick().n_random
    assert reproduce._induction(reproduce.All()) == InductionSettings()
    assert reproduce._ioi(reproduce.All(n=7)).n == 7


def test_the_commands_help_keeps_its_examples_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["reproduce", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.strip().startswith("interp reproduce ") for line in lines) >= 3


def test_the_command_on_a_toy(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PhaseChangeSettings, "quick", classmethod(lambda cls: TRAINING))
    arguments = ["--model", "toy/induction", "--quick", "--n", "2", "--length", "6", "--texts", str(texts)]
    assert command_line.main(["reproduce", "induction", "--out", str(tmp_path), *arguments]) == 0
    (run,) = (tmp_path / "reproduce-induction").iterdir()
    page = (run / "report.html").read_text()
    assert "Synthetic" in page
    assert "has no tokenizer" in page


# ---- the real model ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One quick run on the real model, through the command."""
    root = tmp_path_factory.mktemp("runs")
    assert reproduce.main(reproduce.Induction(quick=True, out=str(root)), Console(quiet=True)) == 0
    (run,) = (root / "reproduce-induction").iterdir()
    return run


def result(run: Path, name: str) -> Result:
    return load(run / "results" / name)


@pytest.mark.slow
def test_the_losses_and_heads_that_are_known(quick_run: Path) -> None:
    loss = result(quick_run, "induction-loss").values["copies"].data
    assert 13.5 < loss[0] < 15.0
    assert 2.3 < loss[1] < 4.0
    score = result(quick_run, "induction-scores").values["score"]
    induction, previous = score.sel(kind="induction").data, score.sel(kind="previous").data
    assert induction[18, 6].item() == pytest.approx(0.9, abs=0.03)
    assert (induction >= 0.4).sum() == 8
    assert previous[16, 0] > 0.85
    assert previous[11, 1] > 0.8


@pytest.mark.slow
def test_knocking_them_out_costs_far_more_than_random_heads(quick_run: Path) -> None:
    found = result(quick_run, "induction-knock-outs-compared")
    for way in ("zero", "mean", "pattern-preserving"):
        at = found.sel(way=way).values
        assert at["second_low"].sel(heads="these heads").data > 3 * at["second_high"].sel(heads="random heads").data
        assert at["second_copy"].sel(heads="these heads").data > 5
        assert found.values["exceeded"].sel(loss=f"second copy, {way}").data == 0
    assert found.sel(loss="first copy, zero").values["effect"].data.abs().max() < 0.5


@pytest.mark.slow
def test_their_keys_read_the_previous_token_head(quick_run: Path) -> None:
    found = result(quick_run, "induction-composition-compared")
    assert found.settings["offset"] == 49
    low, high = found.values["low"], found.values["high"]
    assert low.sel(pairs="previous-token to induction").data > high.sel(pairs="neither to neither").data
    assert low.sel(pairs="previous-token to induction").data > high.sel(pairs="random weights").data
    for head in ("17.3", "17.4", "17.5", "18.6", "18.7"):
        at = found.sel(source="16.0", destination=head).values
        assert at["above"].data > 0.1
        assert at["exceeded"].data == 0


@pytest.mark.slow
def test_they_copy_once_the_first_block_has_read_the_token(quick_run: Path) -> None:
    rank = result(quick_run, "induction-copying-compared").sel(group="these heads").values
    assert rank["low"].sel(measure="after block 0").data > 0.55
    assert rank["low"].sel(measure="in place").data > 0.55


@pytest.mark.slow
def test_on_text_they_serve_the_tokens_that_come_again(quick_run: Path) -> None:
    gained = result(quick_run, "induction-in-context").values
    assert gained["high"].sel(measure="gained by more context").data < 0
    found = result(quick_run, "induction-text-knock-out")
    at = found.sel(measure="tokens that continue an earlier pair").values
    assert at["low"].sel(heads="these heads").data > at["high"].sel(heads="random heads").data


@pytest.mark.slow
def test_the_quick_phase_change_is_one(quick_run: Path) -> None:
    found = result(quick_run, "phase-change-compared")
    end = found.values["induction"].axis("step").labels[-1]
    assert found.sel(model="2-layers", step=end).values["induction"].data > 0.6
    assert found.sel(model="1-layer", step=end).values["induction"].data < 0.2
    assert "In the model of 2 layers an induction head formed" in (quick_run / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.browser
def test_the_report_renders_without_a_network(quick_run: Path) -> None:
    page = check_page(quick_run / "report.html")
    assert not page.errors
    assert not page.outside
    assert not page.counts["failed"]
    picture = screenshot(quick_run / "report.html", quick_run / "report.png")
    assert picture.stat().st_size > 50_000


@pytest.mark.slow
def test_every_number_carries_its_source(quick_run: Path) -> None:
    for path in (quick_run / "results").glob("*/result.json"):
        source = json.loads(path.read_text())["provenance"]
        assert source["model"]["weights_sha256"]
        assert source["environment"]


@pytest.mark.hub
def test_the_revisions_of_pythia_in_the_report(texts: Path, tmp_path: Path) -> None:
    settings = small(
        texts, phase_change=None, revisions="EleutherAI/pythia-70m", revision_names=("step128", "step4000"), length=40
    )
    _, results, report = go(tiny("llama"), settings, tmp_path)
    assert results["induction-revisions"].values["in_context"].data[-1] < -2.0
    assert "Phase change: training revisions of EleutherAI/pythia-70m" in sections(report)


def test_revisions_that_cannot_be_had_are_missed_in_a_sentence(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _, _, report = go(tiny("llama"), small(texts, phase_change=None, revisions="nobody/nothing"), tmp_path)
    assert "Not measured here: " in sections(report)["Phase change: training revisions of nobody/nothing"]
