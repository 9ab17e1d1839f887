"""`interp circuit` on what calls itself GPT-2 small: the circuit stands beside the heads of the paper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from interp.reproduce import published_ioi
from interp.tasks.indirect_objects import OBJECTS, PLACES
from interp.tasks.names import IOI_NAMES
from tests.cli.asking import Ask, results_of, rows_under
from tests.tasks.conftest import template_words, word_tokenizer

WIDTH = 24


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in GPT-2 small's layers and heads, narrow, in a directory called gpt2."""
    tokenizer = word_tokenizer([*template_words(), *PLACES, *OBJECTS, *IOI_NAMES])
    config = transformers.GPT2Config(
        n_layer=12, n_head=12, n_embd=WIDTH, n_positions=64, vocab_size=len(tokenizer), initializer_range=0.2
    )
    path = tmp_path_factory.mktemp("models") / "gpt2"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.GPT2LMHeadModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.slow
def test_the_published_heads_are_counted(
    directory: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = dict(published_ioi._GPT2_SMALL) | {"d_model": WIDTH}
    shape.pop("d_vocab")
    monkeypatch.setattr(published_ioi, "_GPT2_SMALL", shape)
    options = ["--task", "ioi", "--n", 2, "--method", "eap", "--n-edges", 300, "--quick", "--n-random", 2]
    out = ask("circuit", *options, model=str(directory))
    report = results_of(tmp_path, "circuit")["evaluation"]
    assert len(report.settings["known"]) == 26
    assert rows_under(out, "beside 26 known heads and MLPs")
    assert rows_under(out, "the published heads of GPT-2 small in this circuit")
    (page,) = (tmp_path / "circuit").glob("*/report.html")
    assert "The published heads of GPT-2 small in this circuit" in page.read_text()
    # Every head is in the table once: found or missing.
    table = published_ioi.heads_by_class(results_of(tmp_path, "circuit")["circuit"].settings["nodes"])
    assert int(table["published"].sum()) == 26
    recall = report.sel(measure="node_recall").values["known"].data
    there = sum(0 if row == "none" else len(row.split(", ")) for row in table["in the circuit"])
    assert float(recall) == pytest.approx(there / 26)
