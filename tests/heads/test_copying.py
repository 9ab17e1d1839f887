"""Copying scores against one token, one head, one plain computation at a time."""

from __future__ import annotations

import pytest
import torch

import interp
from interp import sites
from interp.errors import InputError
from interp.heads import copying_scores, name_copying
from interp.heads.copying import _samples
from tests.tiny_models import TINY, random_tokens, tiny


def own_output(model, layer: int, head: int, x: torch.Tensor) -> torch.Tensor:
    """What the head adds to the stream when it attends to x alone, from the model's own modules, b_O aside."""
    attention = model.blocks[layer].attn
    group = head * attention.W_V.shape[0] // model.cfg.n_heads
    value = model.blocks[layer].ln1(x[None, None])[0, 0] @ attention.W_V[group]
    if attention.b_V is not None:
        value = value + attention.b_V.view(attention.W_V.shape[0], -1)[group]
    written = value @ attention.W_O[head]
    after = getattr(model.blocks[layer], "ln1_post", None)
    return written if after is None else after(written[None, None])[0, 0]


@pytest.mark.parametrize("name", ["llama", "gemma2", "native-rotary", "native-attention-only"])
def test_copying_is_the_share_of_what_is_raised(name: str) -> None:
    """Models without biases, where the model's own modules do exactly what the folded weights do."""
    model = tiny(name)
    found = copying_scores(model, n=2, length=6, seed=3)
    tokens = _samples(model, 2, 6, 3)
    embedded = interp.capture(model, tokens, sites.embed())[sites.embed()]
    for layer, head, row in ((0, 1, 0), (2, 3, 1)):
        expected = 0.0
        for i in range(6):
            written = own_output(model, layer, head, embedded[row, i])
            logits = (model.ln_final(written[None, None])[0, 0] @ model.W_U)[tokens[row]]
            # The final norm does not centre in these models, so the mean over the sample is all there is to subtract.
            raised = (logits - logits.mean()).clamp(min=0)
            expected += (2 * raised[i] / raised.sum() - 1).item() / 6
        ours = found.per_example.sel(example=row, layer=layer, head=head).data.item()
        assert ours == pytest.approx(expected, abs=1e-4)


def test_a_copying_head_scores_one_and_a_useless_one_less() -> None:
    found = copying_scores(interp.load_model("toy/induction"), n=3, length=8)
    assert found.values["score"].sel(layer=1, head=0).data.item() == pytest.approx(1.0)
    assert found.values["score"].sel(layer=1, head=1).data.item() == -1.0
    assert found.settings["chance"] == pytest.approx(-0.75)
    with pytest.raises(InputError, match="different tokens"):
        copying_scores(interp.load_model("toy/induction"), length=50)


def names_task(n: int = 4):
    tokens = random_tokens(n, 7, seed=5)
    return interp.tasks.from_tokens(
        tokens, tokens, tokens[:, 1], tokens[:, 2], positions={"IO": [1] * n, "S1": [2] * n, "S2": [4] * n}
    )


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("reads", ["first_block", "stream"])
def test_names_are_ranked_among_the_whole_vocabulary(name: str, reads: str) -> None:
    model, task = tiny(name), names_task()
    found = name_copying(model, task, top=9, reads=reads)
    final = model.ln_final
    for sign, factor in (("copies", 1.0), ("suppresses", -1.0)):
        for layer, head in ((0, 0), (2, 1), (1, 3)):
            site = sites.resid_pre(layer) if reads == "stream" else sites.resid_post(0)
            stream = interp.capture(model, task.clean, site)[site]
            hits = []
            for row in range(4):
                for position in (1, 2, 4):
                    written = factor * own_output(model, layer, head, stream[row, position])
                    logits = final(written[None, None])[0, 0] @ model.W_U + model.b_U
                    hits.append(int(task.clean[row, position]) in logits.topk(9).indices.tolist())
            ours = found.values["share"].sel(sign=sign, layer=layer, head=head).data.item()
            assert ours == pytest.approx(sum(hits) / 12), (sign, layer, head)
    assert found.values["average"].data[0] == pytest.approx(found.values["share"].sel(sign="copies").data.mean().item())
    assert found.settings["roles"] == ["IO", "S1", "S2"]


def test_roles_can_be_chosen_and_must_exist() -> None:
    task = names_task()
    assert name_copying(tiny("llama"), task, roles=["S2"]).settings["roles"] == ["S2"]
    with pytest.raises(InputError, match="position"):
        name_copying(tiny("llama"), task, roles=["subject"])


def test_an_induction_head_that_copies_names_leads() -> None:
    model = interp.load_model("toy/induction")
    clean, corrupt, answers, distractors = interp.models.toy.induction.pairs(3, 0)
    task = interp.tasks.from_tokens(clean, corrupt, answers, distractors, positions={"name": [4, 5, 6]})
    found = name_copying(model, task, top=1)
    assert found.top_heads("copies", 1) == [(1, 0)]
    assert found.values["share"].sel(sign="copies", layer=1, head=0).data == 1.0
    assert found.values["share"].sel(sign="suppresses", layer=1, head=0).data == 0.0
    # The other heads write where the logits do not read, so all tokens tie.
    assert found.values["share"].sel(layer=0).data.max() == 0.0
