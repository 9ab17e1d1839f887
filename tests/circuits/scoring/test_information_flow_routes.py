"""Information flow routes against the formula, spelled out on what each writer wrote."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.circuits import Graph, score_edges, search
from interp.circuits.scoring.information_flow_routes import importance
from interp.errors import InputError
from tests.circuits.one_reader_at_a_time import OneReaderAtATime
from tests.circuits.test_masks import pairs
from tests.tiny_models import tiny


def by_formula(name: str, tokens: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What every writer wrote, and the stream that every reader of this model reads, [pos, d_model]."""
    model = tiny(name)
    written = {writer: value[0] for writer, value in OneReaderAtATime(model).run(tokens)[1].items()}
    _, cache = model.run_with_cache(tokens)
    streams = {"logits": cache[f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"][0]}
    for layer in range(model.cfg.n_layers):
        streams[f"a{layer}"] = cache[f"blocks.{layer}.hook_resid_pre"][0]
        streams[f"m{layer}"] = cache[f"blocks.{layer}.hook_resid_mid"][0]
    return written, streams


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_are_shares_of_l1_proximity(name: str) -> None:
    model, task = tiny(name), pairs(2)
    graph = Graph.of(model)
    scored = score_edges(model, task, "ifr", keep_examples=True)
    each = scored.values["per_example"].data
    for row in range(2):
        written, streams = by_formula(name, task.clean[row : row + 1].as_subclass(Tensor))
        for reader in ("a0.0.q", "m1", graph.readers[graph.reader_slice(2, "v").start], "logits"):
            column = graph.reader_index[reader]
            stream = streams[reader.split(".")[0]]
            writers = [writer for writer in graph.writers if graph.exists[graph.writer_index[writer], column]]
            near = torch.stack(
                [(stream.abs().sum(-1) - (stream - written[writer]).abs().sum(-1)).clamp(min=0) for writer in writers]
            )
            shares = near / near.sum(0)
            expected = shares[:, -1] if reader == "logits" else shares.mean(1)
            rows = [graph.writer_index[writer] for writer in writers]
            torch.testing.assert_close(each[row, rows, column], expected, atol=1e-4, rtol=1e-4)
    assert not scored.settings["effect"]
    assert "No effect" in scored.plots[0].caveat


def test_small_batches_and_the_other_run() -> None:
    model, task = tiny("llama"), pairs(3)
    whole = score_edges(model, task, "ifr", at="corrupt")
    torch.testing.assert_close(
        score_edges(model, task, "ifr", at="corrupt", batch_size=1).score, whole.score, equal_nan=True
    )
    assert not torch.allclose(score_edges(model, task, "ifr").score.nan_to_num(), whole.score.nan_to_num(), atol=1e-3)


def test_named_positions_are_nodes_of_their_own() -> None:
    model, task = tiny("llama"), pairs(2)
    graph = Graph.of(model, ("middle", "end"))
    scored = score_edges(model, task, "ifr", graph=graph, keep_examples=True).values["per_example"].data
    written, streams = by_formula("llama", task.clean[:1].as_subclass(Tensor))
    at = int(task.positions["middle"][0])
    column = graph.reader_index["a1.0.q@middle"]
    writers = [name for name in graph.writers if graph.exists[graph.writer_index[name], column]]
    expected = importance(torch.stack([written[name.split("@")[0]][at : at + 1] for name in writers]),
                          streams["a1"][at : at + 1])[:, 0]  # fmt: skip
    rows = [graph.writer_index[name] for name in writers]
    torch.testing.assert_close(scored[0, rows, column], expected, atol=1e-4, rtol=1e-4)


def test_a_writer_that_is_the_stream_has_all_of_it() -> None:
    stream = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    shares = importance(torch.stack([stream, torch.zeros_like(stream), -stream]), stream)
    torch.testing.assert_close(shares, torch.tensor([[1.0], [0.0], [0.0]]).expand(3, 4))
    assert importance(-stream[None], stream).abs().max() == 0


def test_routes_are_picked_greedily() -> None:
    model, task = tiny("llama"), pairs(2)
    found = search(model, task, "greedy", n_edges=12, scores="ifr")
    assert 0 < found.n_edges <= 12
    assert found.equal(found.prune())
    with pytest.raises(InputError, match="greedy"):
        search(model, task, "top", n_edges=12, scores="ifr")
