"""Reading prompts through a tuned lens, and through any other way of seeing all layers at once: whole distributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.selecting import Positions
from interp.lens.layerwise import answer_lens, ask_lens
from interp.lens.lens_values import lens_plots, lens_texts
from interp.lens.questions import Tokens
from interp.lens.translators import TunedLens
from interp.lens.tuned_divergence import Unembedding
from interp.models import identity
from interp.results import Result
from interp.runs import provenance
from interp.tasks.prompting import Prompts, described, has_bos, strings_of

TUNED = (
    "Each layer is read through a translator trained on other texts: it says what can be read off, not what is used."
)

TOLD = ("history", "held_out", "identity_kl", "kept_steps")
"""Entries of `TunedLens.training` that are outcomes."""


class TunedLensReading(Result):
    """As `LogitLens`, read through the translators of a tuned lens."""

    kind: ClassVar[str] = "tuned_lens"


def tuned_lens(
    model: Any,
    prompts: Prompts,
    lens: TunedLens,
    *,
    targets: Tokens | None = None,
    positions: Positions = None,
    layers: Sequence[int] | int | None = None,
    top_k: int = 10,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> TunedLensReading:
    """What each layer predicts through its translator; arguments and values as `logit_lens`, which this equals for a
    lens of zeros.

    Raises InputError for a lens of another model, and as `logit_lens` does.
    """
    started = datetime.now()
    lens.check(model)
    question = ask_lens(model, prompts, targets, positions, layers, False, prepend_bos)
    values, settings = answer_lens(model, replace(question, translate=lens), top_k, batch_size)
    return TunedLensReading(
        values=values,
        settings=settings | {"prepend_bos": has_bos(prompts, prepend_bos), "lens": lens_settings(lens)},
        provenance=provenance(model=identity(model), started=started, **described(prompts)),
        plots=lens_plots(values, "prediction" in question.groups, "Tuned lens", TUNED),
        texts={"tokens": strings_of(model, question.prompts)} | lens_texts(model, values),
    )


def lens_settings(lens: TunedLens) -> dict[str, Any]:
    """Which lens it was, as plain data, without the numbers that its training told."""
    return {name: value for name, value in lens.training.items() if name not in TOLD}


@dataclass(frozen=True, eq=False)
class Distributions:
    """What is read of every layer at every token, beside the model's own prediction there.

    kl, entropy, log_prob [layer, token], in nats: KL(model || layer), and the log-probability of the token that
    follows (NaN where none does). top_ids, top_log_probs [layer, token, k]. agrees [layer, token]: whether the most
    probable token is the model's. mean [layer, vocab]: sum of the distributions over the tokens.
    """

    kl: Float[Tensor, "layer token"]
    entropy: Float[Tensor, "layer token"]
    log_prob: Float[Tensor, "layer token"]
    top_ids: Int[Tensor, "layer token k"]
    top_log_probs: Float[Tensor, "layer token k"]
    agrees: Tensor
    total: Float[Tensor, "layer vocab"]


@torch.no_grad()
def read_distributions(
    head: Unembedding,
    streams: Float[Tensor, "layer token d_model"],
    following: Int[Tensor, " token"],
    *,
    translate: Callable[[Tensor, int], Tensor] | None = None,
    top_k: int = 1,
    totals: bool = False,
) -> Distributions:
    """Read all layers (the last entry is the model's output); following: the tokens that come next, -1 for none.

    totals: also sum the distributions, which takes a vocabulary for each layer; else `total` is empty.
    """
    device = head.weights.device
    moved = [stream if translate is None else translate(stream, layer) for layer, stream in enumerate(streams)]
    normed = head.normed(torch.stack(moved).to(device))
    total = torch.zeros(len(streams), len(head.weights) if totals else 0, device=device)
    parts: list[list[tuple[Tensor, ...]]] = []
    for start in range(0, streams.shape[1], head.rows_at_a_time()):
        rows = slice(start, start + head.rows_at_a_time())
        log_p = head.logits(normed[-1, rows]).log_softmax(-1)
        ids = following[rows].to(device)
        of_rows = []
        for layer, vectors in enumerate(normed[:, rows]):
            log_q = head.logits(vectors).log_softmax(-1)
            of_rows.append(_describe(log_p, log_q, ids, top_k))
            if totals:
                total[layer] += log_q.exp().sum(0)
        parts.append(of_rows)
    joined = [
        torch.stack([torch.cat([piece[layer][i] for piece in parts]) for layer in range(len(streams))]).cpu()
        for i in range(6)
    ]
    kl, entropy, log_prob, top_ids, top_log_probs, agrees = joined
    return Distributions(kl, entropy, log_prob, top_ids, top_log_probs, agrees, total.cpu())


def _describe(log_p: Tensor, log_q: Tensor, ids: Tensor, top_k: int) -> tuple[Tensor, ...]:
    """kl, entropy, log-probability of `ids`, top ids and their log-probabilities, agreement: each [row, ...]."""
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    entropy = -(log_q.exp() * log_q).sum(-1)
    log_prob = log_q.gather(-1, ids.clamp(min=0)[:, None])[:, 0].masked_fill(ids < 0, float("nan"))
    top = log_q.topk(min(top_k, log_q.shape[-1]), dim=-1)
    return kl, entropy, log_prob, top.indices, top.values, log_p.argmax(-1) == top.indices[:, 0]
