"""`interp tuned-lens` and `interp patchscopes` on a tiny model with texts of one's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from interp.cli import main as command_line
from interp.cli.tuned_lens_show import _settled
from interp.lens import TunedLens
from interp.results import load
from tests.cli.asking import Ask, results_of

TRAIN = ["--n-steps", "3", "--context", "12", "--contexts", "2", "--positions", "6", "--measured", "6", "--n", "6"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("texts")
    generator = torch.Generator().manual_seed(0)
    for i in range(60):
        words = torch.randint(3, 10, (30,), generator=generator).tolist()
        (folder / f"{i}.txt").write_text(" ".join(f"w{word}" for word in words))
    return str(folder)


@pytest.fixture(scope="module")
def trained(llama: str, texts: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert command_line.main(["tuned-lens", "--model", llama, "--text", texts, "--out", str(out), *TRAIN]) == 0
    (folder,) = (out / "tuned-lens").iterdir()
    return folder


def test_training_leaves_a_lens_its_curve_and_its_evaluation(trained: Path) -> None:
    assert sorted(path.name for path in (trained / "results").iterdir()) == ["evaluation", "training"]
    assert sorted(path.name for path in (trained / "lens").iterdir()) == [
        "config.json",
        "params.safetensors",
        "training.json",
    ]
    lens = TunedLens.load(trained / "lens")
    assert lens.training["n_steps"] == 3
    assert float(lens.weights.abs().max()) > 0
    page = (trained / "report.html").read_text()
    assert "KL divergence from the model" in page
    assert load(trained / "results" / "evaluation").settings["n"] == 6


def test_a_lens_is_evaluated_and_shown(trained: Path, llama: str, texts: str, tmp_path: Path, capsys) -> None:
    shared = ["--model", llama, "--out", str(tmp_path), "--lens", str(trained)]
    options = ["--text", texts, "--n", "5", "--context", "12", "--basis", "1", "--layers", "2"]
    assert command_line.main(["tuned-lens", "evaluate", *shared, *options]) == 0
    out = capsys.readouterr().out
    assert "KL logit" in out
    assert "causal basis" in out
    assert command_line.main(["tuned-lens", "show", "w5 w6 w7", *shared]) == 0
    out = capsys.readouterr().out
    assert "tuned lens: after 'w7' (position 2)" in out
    assert "logit lens: after 'w7' (position 2)" in out
    (folder,) = (tmp_path / "tuned-lens-show").iterdir()
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["logit-lens", "tuned-lens"]


def test_an_interrupted_training_goes_on(
    llama: str, texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from interp.lens.tuned_checkpoints import Checkpoint

    step, count = Checkpoint.adam, []

    def interrupted(self, *given, **named) -> None:
        if len(count) == 2:
            count.append(0)
            raise KeyboardInterrupt
        count.append(0)
        step(self, *given, **named)

    monkeypatch.setattr(Checkpoint, "adam", interrupted)
    command = ["tuned-lens", "--model", llama, "--text", texts, "--out", str(tmp_path), *TRAIN]
    assert command_line.main(command) == 130
    assert "step 2 of 3 is kept" in capsys.readouterr().err
    assert command_line.main(command) == 0
    assert len(count) == 4, "two steps, the one interrupted, and that one again"
    assert len(list((tmp_path / "tuned-lens").iterdir())) == 1


def test_a_lens_is_exported_once(trained: Path, tmp_path: Path, capsys) -> None:
    command = ["tuned-lens", "export", "--lens", str(trained), "--to", str(tmp_path / "theirs")]
    assert command_line.main(command) == 0
    assert "4 translators" in capsys.readouterr().out
    state = torch.load(tmp_path / "theirs" / "params.pt", weights_only=True)
    assert torch.equal(state["3.weight"], TunedLens.load(trained / "lens").weights[3])
    assert command_line.main(command) == 2
    assert "choose another directory" in capsys.readouterr().err


def test_a_shown_path_leaves_out_what_is_not_known(ask: Ask, tmp_path: Path) -> None:
    out = ask("tuned-lens show", "0 1 2 3", "--ids")
    assert "KL" in out
    assert "surprisal" not in out, "nothing follows the last token"
    trajectory = results_of(tmp_path, "tuned-lens-show")["logit-lens"]
    assert trajectory.values["kl"].axis("position").labels == ("0: 0", "1: 1", "2: 2", "3: 3")
    (page,) = tmp_path.rglob("report.html")
    assert ">Notes<" not in page.read_text()


def test_a_shown_path_has_the_surprisal_of_tokens_that_follow(ask: Ask) -> None:
    assert "surprisal" in ask("tuned-lens show", "0 1 2 3", "--ids", "--position", 1)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["a", "b", "b", "b"], "is the first choice from layer 1 on."),
        (["b", "a", "a", "b"], "the last layer before the output still prefers a."),
    ],
)
def test_where_a_path_settles(tokens: list[str], told: str) -> None:
    path = pd.DataFrame({"layer": [0, 1, 2, 3], "token": tokens})
    assert told in _settled(path, "logit lens", "'x' (position 1)")


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("tuned-lens", ["--n-steps", 0], "n_steps=0 trains nothing; use at least 1"),
        ("tuned-lens", ["--n-steps", -3], "n_steps=-3 trains nothing; use at least 1"),
        ("tuned-lens", ["--context", 1], "use --context 2 or more"),
        ("tuned-lens", ["--context", 0], "use --context 2 or more"),
        ("tuned-lens show", ["", "--ids"], "the prompt has no tokens; give some token ids"),
        ("tuned-lens show", [" , ", "--ids"], "the prompt has no tokens; give some token ids"),
    ],
)
def test_mistakes_with_a_toy_say_what_to_give(ask: Ask, command: str, options: list[object], message: str) -> None:
    assert message in ask(command, *options, code=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--basis", "2", "--layers", "7"], "no layer 7"), (["--basis", "99"], "do not fit a stream of width 48")],
)
def test_a_basis_that_cannot_be_is_refused_before_the_evaluation(
    trained: Path, llama: str, texts: str, tmp_path: Path, capsys, options: list[str], message: str
) -> None:
    shared = ["--model", llama, "--out", str(tmp_path), "--lens", str(trained), "--text", texts, "--n", "5"]
    assert command_line.main(["tuned-lens", "evaluate", *shared, "--context", "12", *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "held-out contexts" not in printed.out


RANDOM = ["--n-steps", 2, "--contexts", 2, "--measured", 6, "--n", 5]


def test_a_model_without_a_tokenizer_trains_on_random_tokens(ask: Ask, tmp_path: Path) -> None:
    out = ask("tuned-lens", *RANDOM)
    assert "out of random tokens, repeated once" in out
    evaluation = results_of(tmp_path, "tuned-lens")["evaluation"]
    assert evaluation.settings["n"] == 5
    (folder,) = (tmp_path / "tuned-lens").iterdir()
    assert "5 held-out contexts" in ask("tuned-lens evaluate", "--lens", folder, "--n", 5, "--basis", 1, "--layers", 1)
    assert "(position 3)" in ask("tuned-lens show", "0 1 2 3", "--ids", "--lens", folder)
    assert "from layer 1: " in ask("patchscopes", "--precision", "--ids", "--inspection", "0 5 3", "--n", 5)


def test_the_finding_comes_first_and_says_where_the_lens_is_worse(trained: Path) -> None:
    page = (trained / "report.html").read_text()
    short = page[page.index("In short") :]
    short = short[: short.index("<table")]
    assert "halfway: KL from the model" in short
    assert "worse than the logit lens" in short
    assert "steps over" not in short, "how it was made comes at the end"


def test_few_tokens_are_said(llama: str, texts: str, tmp_path: Path, capsys, caplog: pytest.LogCaptureFixture) -> None:
    options = [*TRAIN, "--measured", "2"]
    assert command_line.main(["tuned-lens", "--model", llama, "--text", texts, "--out", str(tmp_path), *options]) == 0
    for words in (caplog.text, capsys.readouterr().out):
        assert "measured on 22 tokens, and a stream has 48 directions" in words
        assert "--measured 5" in words


def test_what_cannot_be_evaluated_is_refused_before_the_training(
    llama: str, texts: str, tmp_path: Path, capsys
) -> None:
    options = [*TRAIN, "--n", "999"]
    assert command_line.main(["tuned-lens", "--model", llama, "--text", texts, "--out", str(tmp_path), *options]) == 2
    printed = capsys.readouterr()
    assert "and 999 are wanted; use --n" in printed.err
    assert "steps over" not in printed.out


def test_texts_without_a_tokenizer_are_refused_before_anything_is_announced(ask: Ask, texts: str) -> None:
    assert "use --text random" in ask("tuned-lens", "--text", texts, code=2)


@pytest.mark.parametrize("inspection", [[], ["--inspection", "identity"]])
def test_an_inspection_prompt_that_needs_a_tokenizer_asks_for_ids(ask: Ask, inspection: list[str]) -> None:
    assert "give --inspection as token ids too" in ask("patchscopes", "0 1 2", "--ids", *inspection, code=2)


def test_patchscopes_of_a_text(llama: str, tmp_path: Path, capsys) -> None:
    options = ["--model", llama, "--out", str(tmp_path), "--inspection", "w8 w9", "--n-tokens", "2"]
    assert command_line.main(["patchscopes", "w5 w6 w7", *options]) == 0
    assert "what follows 'w7' (position 2) in the inspection prompt" in capsys.readouterr().out
    assert command_line.main(["patchscopes", "w5 w6 w7", *options, "--layers", "1", "--targets", "0", "2"]) == 0
    out = capsys.readouterr().out
    assert "target" in out
    assert "(layer 1, written at layer 0)" in out, "as near to layer 1 as layer 2"


def test_a_patchscope_shows_its_prompt_and_names_no_single_layer(llama: str, tmp_path: Path, capsys) -> None:
    options = ["--model", llama, "--out", str(tmp_path), "--inspection", "w8 w9", "--n-tokens", "2"]
    assert command_line.main(["patchscopes", "w5 w6 w7", *options]) == 0
    out = capsys.readouterr().out
    (page,) = tmp_path.rglob("report.html")
    visible = page.read_text().split("<footer>")[0]
    for told in (
        "«w9»",
        "early (layer 0)",
        "halfway (layer 2)",
        "late (layer 3)",
        "With nothing written the prompt goes on",
    ):
        assert told in out
        assert told in visible
    assert "share" not in out, "a prompt of one's own has no separator"
    first = next(line for line in out.splitlines() if line.lstrip().startswith("0")).split()[-2].strip("'")
    assert command_line.main(["patchscopes", "w5 w6 w7", *options, "--separator", first]) == 0
    assert f"after the {first!r} that its examples share" in capsys.readouterr().out


def test_patchscopes_of_token_ids(ask: Ask) -> None:
    out = ask("patchscopes", "0 5 3 7", "--ids", "--inspection", "0 5 3", "--n-tokens", 2)
    assert "what follows '7'" in out
    assert "0 5 «3»" in out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["tuned-lens", "evaluate", "--lens", "nowhere"], "no tuned lens in nowhere"),
        (["tuned-lens", "shw"], "did you mean 'show'"),
        (["tuned-lens", "show", "w5 w6", "--position", "2"], "no position 2"),
        (["patchscopes"], "or --precision"),
        (["patchscopes", "w5", "--layers", "9"], "no layer 9"),
    ],
)
def test_mistakes_are_one_sentence(command: list[str], message: str, llama: str, tmp_path: Path, capsys) -> None:
    assert command_line.main([*command, "--model", llama, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_lens_of_another_model_is_refused(trained: Path, tmp_path: Path, capsys) -> None:
    command = ["tuned-lens", "show", "0 5 3", "--ids", "--model", "toy/induction", "--lens", str(trained)]
    assert command_line.main([*command, "--out", str(tmp_path)]) == 2
    assert "this lens is for 4 layers of width 48" in capsys.readouterr().err


def test_texts_shorter_than_a_context_are_refused(llama: str, texts: str, tmp_path: Path, capsys) -> None:
    command = ["tuned-lens", "--model", llama, "--text", texts, "--out", str(tmp_path), *TRAIN, "--context", "40"]
    assert command_line.main(command) == 2
    assert "has 30 tokens and a context takes 40" in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.yaml"))
