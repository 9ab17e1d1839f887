"""The command `saes`: what a shell sees of training, measuring and looking, and of everything that is wrong."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import tyro

import saes
from interp.cli.programs import module_of
from interp.results import load
from saes.cli import main as command_line
from saes.training.config_keys import config_keys
from tests.saes.training.test_training import write_texts
from tests.tiny_models import plain_llama, word_tokenizer

YAML = """
model: {model}
sites: blocks.1.hook_resid_post
dictionaries: {{architecture: [topk], d_sae: 96, k: [4, 8]}}
texts: {{source: {texts}, held_out: 0.2}}
harvest: {{context_size: 16, buffer: 256, prompts_per_pass: 4}}
fit: {{n_tokens: 640, batch_size: 64, log_every: 5, plan: {{max_density: 0.2}}}}
evaluate_prompts: 6
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in a directory, as a user has one."""
    directory = tmp_path_factory.mktemp("model")
    plain_llama().save_pretrained(directory)
    word_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Path:
    path = tmp_path / "small grid.yaml"
    text = YAML.format(model=model, texts=write_texts(tmp_path / "texts")).replace("[topk]", "topk")
    path.write_text(text)
    return path


def ask(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What the command prints; with code=2 the one sentence it refuses with."""
    assert command_line.main([str(argument) for argument in arguments]) == code
    printed = capsys.readouterr()
    if code == 2:
        assert printed.err.startswith("saes: ")
        assert printed.err.count("\n") == 1
        return printed.err
    return printed.out


def test_train_show_evaluate(
    config: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    runs = tmp_path / "runs"
    out = ask(capsys, "train", config, "--out", runs, "--seed", 3)
    (run,) = (runs / "small-grid").iterdir()
    assert f"dictionaries: {run}/dictionaries" in out
    assert f"report:       {run}/report.html" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(" topk-96-k")]
    assert [row[0] for row in rows] == ["topk-96-k4", "topk-96-k8"]
    stored = load(run / "results" / "evaluation").values["measures"]
    l0 = stored.axes[1].labels.index("l0")
    assert [float(row[1]) for row in rows] == pytest.approx(stored.data[:, l0].tolist(), rel=0.01)
    assert saes.load(run / "dictionaries" / "topk-96-k4").metadata["seed"] == 3

    told = ask(capsys, "show", "latest", "--root", runs)
    assert f"{run}: finished" in told
    assert "topk-96-k8" in told
    told = ask(capsys, "show", run / "dictionaries" / "topk-96-k8")
    assert "96 of activations of width 48" in told
    assert "blocks.1.hook_resid_post" in told

    error = ask(capsys, "evaluate", run / "dictionaries" / "topk-96-k4", "--out", runs, code=2)
    assert "name the model with --model" in error
    both = [run / "dictionaries" / name for name in ("topk-96-k4", "topk-96-k8")]
    ask(capsys, "evaluate", *both, "--model", model, "--held-out", 0.2, "--n", 6, "--out", runs)
    (again,) = (runs / "evaluate-dictionaries").iterdir()
    measured = load(again / "results" / "evaluation").values["measures"]
    torch.testing.assert_close(measured.data, stored.data, rtol=1e-3, atol=1e-3, equal_nan=True)
    assert (again / "report.html").is_file()


def test_what_is_wrong_is_one_sentence(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    out = ["--out", runs]
    assert "there is no command 'trian'; did you mean 'train'" in ask(capsys, "trian", code=2)
    assert "cannot be read: No such file" in ask(capsys, "train", tmp_path / "none.yaml", code=2)
    assert "must hold at least one batch of 64" in ask(capsys, "train", config, "--n-tokens", 10, *out, code=2)
    error = ask(capsys, "train", config, "--batch-size", 512, *out, code=2)
    assert "larger than the shuffle buffer of 256" in error
    assert "there is no logger 'wandbb'" in ask(capsys, "train", config, "--logger", "wandbb", *out, code=2)
    text = config.read_text()
    config.write_text(text.replace("blocks.1.hook_resid_post", "blocks.9.hook_resid_post"))
    assert "the layers are 0 to 3" in ask(capsys, "train", config, *out, code=2)
    config.write_text(text.replace("d_sae: 96", "d_sea: 96"))
    assert "needs architecture and d_sae" in ask(capsys, "train", config, *out, code=2)
    config.write_text(text.replace("k: [4, 8]", "k: [4, 800]"))
    assert "from 1 to d_sae = 96, not 800" in ask(capsys, "train", config, *out, code=2)
    assert not runs.exists(), "what was refused leaves no run"
    assert "is neither a dictionary nor a run" in ask(capsys, "show", tmp_path, code=2)
    assert "there is no directory" in ask(capsys, "evaluate", tmp_path / "nothing", code=2)
    narrow = saes.TopK(20, 64, k=4).build()
    narrow.metadata = {"hook_name": "blocks.1.hook_resid_post"}
    narrow.save(tmp_path / "narrow")
    given = [tmp_path / "narrow", "--texts", tmp_path / "texts", "--held-out", 0.3, "--context-size", 16, *out]
    assert "which model it was made for; name it with --model" in ask(capsys, "evaluate", *given, code=2)
    model = text.split()[1]
    error = ask(capsys, "evaluate", *given, "--model", model, code=2)
    assert "takes activations of width 20, and blocks.1.hook_resid_post of this model has 48" in error
    given[4] = 0.0
    assert "is held out (held_out is 0)" in ask(capsys, "evaluate", *given, "--model", model, code=2)


@pytest.mark.parametrize("command", command_line.COMMANDS)
def test_help_is_of_commands_that_parse(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        command_line.main([command, "--help"])
    assert ended.value.code == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith(f"usage: saes {command}")
    assert "{None}" not in "\n".join(lines)
    assert not [line for line in lines if len(line) > 80]
    examples = [line.strip().partition("  ")[0] for line in lines if line.startswith("    saes ")]
    assert examples
    for example in examples:
        _, name, *rest = shlex.split(example)
        assert name == command
        config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
        tyro.cli(module_of(command_line.COMMANDS[name][0]).Config, args=rest, config=config)


def test_the_table_of_commands_is_there_at_once() -> None:
    root = Path(__file__).parents[3]
    heavy = "print('heavy', {'torch', 'rich', 'tyro'} & {*sys.modules})"
    program = f"import sys; from saes.cli.main import main; main([]); {heavy}"
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert "usage: saes <command>" in done.stdout
    assert "heavy set()" in done.stdout
    told = subprocess.run([sys.executable, "-m", "saes", "--version"], cwd=root, capture_output=True, text=True)
    assert told.stdout.startswith("interp-workbench")


def test_the_yaml_in_the_repository_is_understood() -> None:
    from saes.training.config import read_config

    for path in (Path(__file__).parents[3] / "experiments").glob("*dictionaries*.yaml"):
        assert json.dumps([each.to_dict() for each in read_config(path).configs(576)])


def test_every_key_of_the_file_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for part, keys in config_keys().items():
        assert [key.name for key in keys if not key.meaning] == [], part
    told = ask(capsys, "show", "config")
    for words in ("fit.schedule.decay (str; default: linear)", "linear, cosine or none", "architecture: matryoshka"):
        assert words in told
    assert "held_out_tokens (int; default: 16384)" in told
