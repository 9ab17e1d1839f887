"""The loss on repeated random tokens: what a model saves by remembering that it has seen them before."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.heads.token_losses import losses_at
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, bootstrap_interval, mean_with_interval
from interp.runs import provenance
from interp.tasks.repetition import repeated_random_tokens

PASS_TOKENS = 2048


class RepeatedLoss(Result):
    """loss, low, high [position]: mean over prompts of -log p of the token at each position, with its 95 % interval.

    per_prompt [example, position]. copies, copies_low, copies_high [copy]: the mean over the tokens of each copy; the
    first token of the later copies, which nothing announces, does not count. copies_per_prompt [example, copy]. All in
    nats.
    """

    kind: ClassVar[str] = "repeated_loss"


def repeated_loss(
    model: Any,
    *,
    n: int = 16,
    length: int = 50,
    n_repeats: int = 2,
    seed: int = 0,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> RepeatedLoss:
    """Loss at every position of `n` prompts of `length` random tokens, repeated (Elhage et al. 2021; Olsson 2022).

    A model without memory stays at the level of the first copy, about log(vocabulary) or worse; an induction circuit
    brings the later copies down. batch_size: prompts a pass. Raises InputError when the context is too short.
    """
    started = datetime.now()
    tokens = repeated_random_tokens(model, n, length, seed, prepend_bos, n_repeats).as_subclass(Tensor)
    step = batch_size or max(1, PASS_TOKENS // tokens.shape[1])
    predicted = torch.arange(1, tokens.shape[1])
    each = torch.cat([losses_at(model, rows, predicted) for rows in tokens.split(step)])
    n_bos = int(prepend_bos)
    return RepeatedLoss(
        values=_by_position(each) | _by_copy(each, length, n_repeats, n_bos),
        settings={"n": n, "length": length, "n_repeats": n_repeats, "prepend_bos": prepend_bos},
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=(_plot(int(model.cfg.d_vocab)),),
    )


def _by_position(each: Float[Tensor, "batch predicted"]) -> dict[str, Values]:
    axes = (Axis("example", tuple(range(len(each)))), Axis("position", tuple(range(1, each.shape[1] + 1))))
    per_prompt = Values(each, axes, "nats", "-log p of the token at each position")
    means = mean_with_interval(per_prompt)
    return {"loss": means["mean"], "low": means["low"], "high": means["high"], "per_prompt": per_prompt}


def _by_copy(each: Float[Tensor, "batch predicted"], length: int, n_repeats: int, n_bos: int) -> dict[str, Values]:
    # Entry i is the loss of the token at position i + 1; a copy's first token stands at n_bos + copy * length.
    starts = [n_bos + copy * length for copy in range(n_repeats)]
    means = torch.stack([each[:, start : start + length - 1].mean(1) for start in starts], dim=1)
    examples, copies = Axis("example", tuple(range(len(each)))), Axis("copy", tuple(range(1, n_repeats + 1)))
    low, high = bootstrap_interval(means, 0)
    return {
        "copies": Values(means.mean(0), (copies,), "nats", "mean loss of each copy, without its first token"),
        "copies_low": Values(low, (copies,), "nats"),
        "copies_high": Values(high, (copies,), "nats"),
        "copies_per_prompt": Values(means, (examples, copies), "nats"),
    }


def _plot(d_vocab: int) -> Plot:
    uniform = float(torch.tensor(float(d_vocab)).log())
    return Plot(
        "lines",
        "loss",
        x="position",
        title="Loss on repeated random tokens",
        caption="Once the sequence repeats, a model with induction heads predicts what followed before.",
        low="low",
        high="high",
        options={"y_label": "loss (nats)", "references": {"uniform guess": uniform}},
    )
