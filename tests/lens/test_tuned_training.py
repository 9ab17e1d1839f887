"""Training a tuned lens: what it must find, that it stops and goes on, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.lens import LensTraining, TunedLens, evaluate_tuned_lens, learning_curve, train_tuned_lens
from interp.lens.tuned_checkpoints import FILE
from interp.lens.tuned_divergence import Unembedding
from interp.lens.tuned_streams import streams_at
from interp.lens.tuned_texts import as_contexts, split_documents
from tests.tiny_models import TINY, random_tokens, tiny, tiny_native

QUICK = LensTraining(n_steps=6, context=9, contexts=4, positions=5, vocabulary=50, measured=8)


MLP = "_original_component.mlp._original_component"


def linear_model() -> Any:
    """Blocks that are affine on the stream: no attention (its output is 0), no norms, MLPs without a bend."""
    model = tiny_native(normalization_type=None, act_fn="relu")
    with torch.no_grad():
        for block in model.blocks:
            parameters = dict(block.named_parameters())
            for name, value in parameters.items():
                if ".attn." in name:
                    value.zero_()
            # Never below 0, where the rectifier is the identity; what that adds is taken off again.
            lift, out = parameters[f"{MLP}.fc_in._original_component.bias"], f"{MLP}.fc_out._original_component"
            lift.fill_(30.0)
            parameters[f"{out}.bias"].copy_(-parameters[f"{out}.weight"] @ lift)
    return model


@pytest.mark.parametrize("start", ["identity", "regression"])
def test_affine_blocks_are_found(start: str) -> None:
    model = linear_model()
    tokens = random_tokens(64, 12)
    streams = streams_at(model, tokens, torch.arange(1, 12).expand(64, -1))
    joint = torch.cat([streams[0].flatten(0, 1), torch.ones(64 * 11, 1)], dim=1)
    residue = torch.linalg.lstsq(joint, streams[-1].flatten(0, 1)).solution
    assert float((joint @ residue - streams[-1].flatten(0, 1)).abs().max()) < 1e-2, "the blocks are affine"
    settings = LensTraining(
        n_steps=0 if start == "regression" else 250,
        context=12,
        contexts=8,
        positions=11,
        vocabulary=0,
        learning_rate=2e-2,
        start=start,  # type: ignore[arg-type]
        measured=64,
    )
    lens = train_tuned_lens(model, tokens, settings)
    found = evaluate_tuned_lens(model, lens, random_tokens(16, 12, seed=5), context=12, n=16, positions=11)
    kl = found.values["kl"]
    before, after = (kl.sel(lens=name).data for name in ("logit lens", "tuned lens"))
    assert float(before.min()) > 0.3
    assert float(after.max()) < 0.05 * float(before.min())


@pytest.mark.parametrize("name", [name for name in TINY if name != "native-attention-only"])
def test_every_kind_of_model_gets_a_better_lens(name: str) -> None:
    model, tokens = tiny(name), random_tokens(64, 9)
    lens = train_tuned_lens(model, tokens, replace(QUICK, measured=64, positions=8))
    lens.check(model)
    found = evaluate_tuned_lens(model, lens, random_tokens(24, 9, seed=5), context=9, n=24, positions=8)
    logit, tuned = (found.values["kl"].sel(lens=which).data for which in ("logit lens", "tuned lens"))
    assert float(tuned.mean()) < float(logit.mean())
    assert learning_curve(model, lens).values["kl"].data.shape == (model.cfg.n_layers, 6)


def test_one_step_follows_the_gradient_of_the_loss() -> None:
    """From the identity, against automatic differentiation of the definition in the parameters of the paper."""
    model, tokens = tiny("gpt2"), random_tokens(40, 9)
    settings = replace(QUICK, n_steps=1, contexts=32, positions=8, vocabulary=0, start="identity", measured=32)
    lens = train_tuned_lens(model, tokens, replace(settings, learning_rate=1e-4))
    streams = streams_at(model, tokens, torch.arange(1, 9).expand(40, -1)).flatten(1, 2)
    head = Unembedding.of(model)
    log_p = head.logits(head.normed(streams[-1])).log_softmax(-1)
    for layer in range(3):
        weight = torch.zeros(48, 48, requires_grad=True)
        bias = torch.zeros(48, requires_grad=True)
        moved = streams[layer] + streams[layer] @ weight.T + bias
        log_q = head.logits(head.normed(moved)).log_softmax(-1)
        slopes = torch.autograd.grad((log_p.exp() * (log_p - log_q)).sum(-1).mean(), (weight, bias))
        descent = (slopes[0] * lens.weights[layer]).sum() + (slopes[1] * lens.biases[layer]).sum()
        assert float(descent) < 0, "the first step goes downhill"


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    model, tokens = tiny("llama"), random_tokens(24, 9)
    whole = train_tuned_lens(model, tokens, QUICK)

    def stop(step: int, losses: torch.Tensor) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupt:
        train_tuned_lens(model, tokens, QUICK, directory=tmp_path, report=stop)
    assert "step 3 of 6 is kept" in interrupt.value.__notes__[0]
    seen: list[int] = []
    again = train_tuned_lens(model, tokens, QUICK, directory=tmp_path, report=lambda step, losses: seen.append(step))
    assert seen == [4, 5, 6]
    assert torch.equal(again.weights, whole.weights)
    assert torch.equal(again.biases, whole.biases)
    assert again.training == whole.training


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    model, tokens = tiny("llama"), random_tokens(24, 9)

    class Killed(BaseException):
        pass

    def kill(step: int, losses: torch.Tensor) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_tuned_lens(model, tokens, QUICK, directory=tmp_path, every=2, report=kill)
    seen: list[int] = []
    train_tuned_lens(model, tokens, QUICK, directory=tmp_path, report=lambda step, losses: seen.append(step))
    assert seen == [5, 6]


def test_checkpoints_of_another_training_are_refused(tmp_path: Path) -> None:
    model, tokens = tiny("llama"), random_tokens(24, 9)
    train_tuned_lens(model, tokens, replace(QUICK, n_steps=1), directory=tmp_path, every=1)
    with pytest.raises(InputError, match=r"another training \(its seed differs\)"):
        train_tuned_lens(model, tokens, replace(QUICK, n_steps=1, seed=1), directory=tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-9])
    with pytest.raises(InputError, match=r"damaged.*delete it"):
        train_tuned_lens(model, tokens, replace(QUICK, n_steps=1), directory=tmp_path)


def test_a_seed_decides_everything() -> None:
    model, tokens = tiny("llama"), random_tokens(24, 9)
    first, same, other = (train_tuned_lens(model, tokens, replace(QUICK, n_steps=2, seed=s)) for s in (0, 0, 1))
    assert torch.equal(first.weights, same.weights)
    assert not torch.equal(first.weights, other.weights)


def test_contexts_come_whole_out_of_documents() -> None:
    model = tiny("llama")
    texts = ["w5 w6 w7 w8 w9", "w3", "w4 w5 w6 w7"]
    assert as_contexts(model, texts, 2).tolist() == [[5, 6], [7, 8], [4, 5], [6, 7]]
    assert as_contexts(model, iter(texts), 3, prepend_bos=True, n=2).tolist() == [[1, 5, 6], [1, 7, 8]]
    assert as_contexts(model, [("a", "w5 w6"), ("b", "")], 2).tolist() == [[5, 6]]


def test_contexts_are_drawn_from_all_documents_of_a_list() -> None:
    model = tiny("llama")
    texts = [f"w{i} w{i} w{i} w{i}" for i in range(10)]
    drawn = {seed: as_contexts(model, texts, 2, 8, seed=seed).tolist() for seed in (0, 0, 1)}
    assert drawn[0] != drawn[1]
    assert as_contexts(model, texts, 2, 8, seed=0).tolist() == drawn[0]
    assert any(row[0] > 4 for row in drawn[0]), "not the first documents alone"
    assert as_contexts(model, iter(texts), 2, 3).tolist() == [[0, 0], [0, 0], [1, 1]]


def test_documents_are_split_by_their_names() -> None:
    documents = [(f"document {i}", str(i)) for i in range(300)]
    held, kept = (list(split_documents(documents, side, share=0.3)) for side in (True, False))
    assert sorted(held + kept) == sorted(documents)
    assert 60 < len(held) < 120
    assert list(split_documents(reversed(documents), True, share=0.3)) == held[::-1]


@pytest.mark.parametrize(
    ("texts", "changes", "message"),
    [
        (["w5 w6 w7", "w5"], {}, "longest of 2 texts has 3 tokens and a context takes 9"),
        ([], {}, "longest of 0 texts"),
        (random_tokens(3, 8), {}, "8 tokens and a context takes 9"),
        (random_tokens(3, 9) + 100, {}, "outside of the model's vocabulary"),
        (random_tokens(3, 9), {"context": 65}, "from 2 to 64 tokens"),
        (random_tokens(3, 9), {"context": 1}, "from 2 to 64 tokens"),
    ],
)
def test_texts_that_cannot_be_trained_on_are_refused(texts: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_tuned_lens(tiny("llama"), texts, replace(QUICK, **changes))


@pytest.mark.parametrize("changes", [{"n_steps": -1}, {"contexts": 0}, {"vocabulary": 1}, {"learning_rate": 0.0}])
def test_settings_that_train_nothing_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LensTraining(**changes)


def test_an_untrained_lens_has_no_curve() -> None:
    with pytest.raises(InputError, match="no history"):
        learning_curve(tiny("llama"), TunedLens.identity(tiny("llama")))
