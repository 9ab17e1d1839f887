"""Prefix matching exactly as Olsson et al. 2022 measured it ("In-context Learning and Induction Heads", appendix)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import torch

from interp.heads.reducing import reduce_patterns
from interp.heads.stripes import HeadScores, Pattern, score_values, targets
from interp.models import identity
from interp.results import Plot
from interp.runs import provenance
from interp.tasks.repetition import repeated_random_tokens


def prefix_matching(
    model: Any,
    *,
    n: int = 10,
    length: int = 25,
    n_repeats: int = 4,
    seed: int = 0,
    prepend_bos: bool = True,
    batch_size: int | None = None,
) -> HeadScores:
    """Prefix-matching score of every head: [BOS] and `length` random tokens, `n_repeats` times, `n` prompts.

    Two kinds. "entries", the paper's: the mean over all pattern entries from a token to the tokens that followed its
    earlier occurrences. A token of the third copy has two such entries, of the fourth three, so that a perfect head
    scores 2 / n_repeats (0.5 for four) at most. "summed": the same entries summed for each token, then the mean over
    tokens of the later copies, at most 1. The paper leaves out the commonest and rarest tokens; this does not, since
    tokenizers do not say which those are. Raises InputError when the model's context is too short.
    """
    started = datetime.now()
    prompts = repeated_random_tokens(model, n, length, seed, prepend_bos, n_repeats)
    wanted = targets(prompts, "induction")
    layers = range(int(model.cfg.n_layers))

    def read(pattern: Pattern, layer: int, rows: slice) -> torch.Tensor:
        mask = wanted[rows].to(pattern.device)
        total = (pattern * mask[:, None]).sum((-2, -1))
        n_entries, n_queries = mask.sum((-2, -1)), mask.any(-1).sum(-1)
        return torch.stack([total / n_entries[:, None], total / n_queries[:, None]], dim=1)

    found = reduce_patterns(model, prompts, read, layers, batch_size)
    settings = {"n": n, "length": length, "n_repeats": n_repeats, "prepend_bos": prepend_bos}
    map_of_heads = Plot(
        "heatmap",
        "score",
        x="head",
        y="layer",
        series="kind",
        title="Prefix matching",
        caption="Attention from a token to what followed its earlier occurrences (Olsson et al. 2022).",
        low="low",
        high="high",
        options={"colour_range": [0, 1], "colour_label": "attention"},
    )
    return HeadScores(
        values=score_values(torch.stack(list(found.values()), dim=2), ("entries", "summed")),
        settings=settings | {"prompts": "prefix matching"},
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=(map_of_heads,),
    )
