"""The in-context learning score: how much better a model predicts late in a text than early in it.

Olsson et al. 2022, "In-context Learning and Induction Heads": the loss of the 500th token less that of the 50th,
averaged over texts. Negative: the model uses what it has read. They find about -0.4 nats for models of all sizes once
induction heads have formed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.heads.token_losses import losses_at
from interp.hooks.partial import embedding_device
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks.prompting import Prompts, as_prompts, has_bos

PASS_TOKENS = 4096
MEASURES = ("early", "late", "score")


class InContextScore(Result):
    """mean, low, high [measure]: loss at the early and the late position and their difference, the score, in nats, with
    95 % intervals over texts. per_prompt [example, measure].
    """

    kind: ClassVar[str] = "in_context_score"


def in_context_score(
    model: Any,
    prompts: Prompts,
    *,
    early: int = 50,
    late: int = 500,
    window: int = 1,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> InContextScore:
    """Loss at token `late` less loss at token `early` of each text, averaged.

    prompts: texts, token ids or a task; each must have `late` + `window` tokens, the rest is not read. early, late:
    positions in the tokens, a BOS included, counted from 0; models with a short context state their own. window: mean
    over so many tokens from each of the two on; the paper's 1 is noisy for few texts. Raises InputError when a text is
    too short or the positions are in no order.
    """
    started = datetime.now()
    n_tokens = check_positions(model, early, late, window)
    tokens = as_prompts(model, prompts, prepend_bos=prepend_bos)
    short = int((tokens.lengths < n_tokens).sum())
    if short:
        raise InputError(
            f"{short} of {len(tokens)} texts have fewer than {n_tokens} tokens; leave them out or lower late="
        )
    plain = tokens.as_subclass(Tensor)[:, :n_tokens].to(embedding_device(model))
    positions = window_positions(early, late, window)
    rows = plain.split(batch_size or max(1, PASS_TOKENS // n_tokens))
    each = measures_of(torch.cat([losses_at(model, part, positions) for part in rows]))
    axes = (Axis("example", tuple(range(len(each)))), Axis("measure", MEASURES))
    per_prompt = Values(each, axes, "nats")
    means = mean_with_interval(per_prompt)
    describe = getattr(prompts, "describe", None)
    return InContextScore(
        values={**means, "per_prompt": per_prompt},
        settings={"early": early, "late": late, "window": window, "n": len(each)}
        | {"prepend_bos": has_bos(prompts, prepend_bos)},
        provenance=provenance(model=identity(model), task=describe() if describe else None, started=started),
        plots=(
            Plot(
                "bars",
                "mean",
                x="measure",
                title="In-context learning score",
                caption=f"Loss at token {early}, at token {late}, and the difference: negative where the model uses "
                "what it has read.",
                low="low",
                high="high",
                options={"y_label": "nats"},
            ),
        ),
    )


def check_positions(model: Any, early: int, late: int, window: int) -> int:
    """How many tokens the score reads. Raises InputError for positions that make none."""
    if not 1 <= early < late or not 1 <= window <= late - early:
        raise InputError(
            f"early={early}, late={late}, window={window} make no score; use 1 <= early < late and a window of at most "
            "late - early (token 0 has no loss)"
        )
    n_ctx = getattr(model.cfg, "n_ctx", None)
    if n_ctx is not None and late + window > n_ctx:
        raise InputError(f"late={late} and window={window} need {late + window} tokens and the model takes {n_ctx}")
    return late + window


def window_positions(early: int, late: int, window: int) -> Int[Tensor, " position"]:
    """The early positions, then the late ones."""
    return torch.cat([torch.arange(early, early + window), torch.arange(late, late + window)])


def measures_of(losses: Float[Tensor, "batch position"]) -> Float[Tensor, "batch 3"]:
    """Early and late loss and their difference, of each prompt, from the losses at `window_positions`."""
    early, late = (half.mean(1) for half in losses.chunk(2, dim=1))
    return torch.stack([early, late, late - early], dim=1)
