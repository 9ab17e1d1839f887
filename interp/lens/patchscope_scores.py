"""How well each layer's state, read by a patchscope, predicts what the model will say: section 4.1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.lens.patchscope_runs import PASS_ROWS, Inspection, Inspector, source_layers
from interp.lens.translators import TunedLens
from interp.lens.tuned_divergence import Unembedding
from interp.lens.tuned_reading import lens_settings
from interp.lens.tuned_streams import streams_at
from interp.lens.tuned_texts import Texts, as_contexts, tokens_sha256
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, interval_words, mean_with_interval
from interp.runs import progress, provenance


class PatchscopePrecision(Result):
    """Axes: method ("patchscope", "logit lens", "tuned lens" where one was given), layer, example (a prompt).

    precision [method, layer], precision_low, precision_high, precision_per_prompt: share of prompts whose next token,
    as the model predicts it in the end, is the method's most probable one. surprisal, ...: minus the log-probability
    that the method gives that token, in nats.
    """

    kind: ClassVar[str] = "patchscope_precision"


def patchscope_precision(
    model: Any,
    texts: Texts,
    *,
    lens: TunedLens | None = None,
    layers: Sequence[int] | int | None = None,
    n: int = 64,
    length: int = 48,
    inspection: str | Tensor | Sequence[int] = "identity",
    at: int = -1,
    prepend_bos: bool = False,
    seed: int = 0,
) -> PatchscopePrecision:
    """Read the last token's state of `n` prompts of `length` tokens by a patchscope and by the lenses, at every layer.

    States are written at the layer they are from. Raises InputError for texts that are too short, a lens of another
    model, and layers and positions that do not exist.
    """
    started = datetime.now()
    if lens is not None:
        lens.check(model)
    chosen = source_layers(model, layers)
    scope = Inspection.of(model, inspection, at, prepend_bos and isinstance(inspection, str))
    every = as_contexts(model, texts, length, prepend_bos=prepend_bos)
    contexts = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))[:n]]
    last = torch.full((len(contexts), 1), length - 1)
    parts = [streams_at(model, *rows)[:, :, 0] for rows in zip(contexts.split(16), last.split(16))]
    streams = torch.cat(parts, dim=1)  # [layer, prompt, d_model]
    head = Unembedding.of(model)
    inspector = Inspector(model, scope)
    with torch.no_grad():
        final = torch.cat([head.logits(rows).argmax(-1) for rows in head.normed(streams[-1]).split(PASS_ROWS)])
    methods = ("patchscope", "logit lens", *(() if lens is None else ("tuned lens",)))
    scores = []
    with progress(len(chosen), "reading layers") as bar:
        for layer in chosen:
            scores.append(_layer(inspector, head, lens, streams[layer], layer, final))
            bar.advance()
    values = _values(torch.stack(scores), methods, chosen)
    return PatchscopePrecision(
        values=values,
        settings={"n": len(contexts), "length": length, "prepend_bos": prepend_bos, **scope.describe(model)}
        | {"tokens_sha256": tokens_sha256(contexts)}
        | ({} if lens is None else {"lens": lens_settings(lens)}),
        provenance=provenance(model=identity(model), started=started, seed=seed),
        plots=_plots(len(contexts)),
    )


@torch.no_grad()
def _layer(
    inspector: Inspector, head: Unembedding, lens: TunedLens | None, vectors: Tensor, layer: int, final: Tensor
) -> Float[Tensor, "method measure prompt"]:
    """Precision and surprisal of every method at a layer."""
    parts = []
    step = min(PASS_ROWS, head.rows_at_a_time())
    for some, goal in zip(vectors.split(step), final.split(step)):
        readings = [inspector.log_probs(some, layer), head.logits(head.normed(some)).log_softmax(-1)]
        if lens is not None:
            readings.append(head.logits(head.normed(lens(some, layer))).log_softmax(-1))
        of_methods = [
            torch.stack([(read.argmax(-1) == goal).float(), -read.gather(-1, goal[:, None])[:, 0]]) for read in readings
        ]
        parts.append(torch.stack(of_methods))
    return torch.cat(parts, dim=-1).cpu()


def _values(
    scores: Float[Tensor, "layer method measure prompt"], methods: tuple[str, ...], layers: Sequence[int]
) -> dict[str, Values]:
    axes = (Axis("example", tuple(range(scores.shape[-1]))), Axis("method", methods), Axis("layer", tuple(layers)))
    values: dict[str, Values] = {}
    for i, (name, unit) in enumerate((("precision", "share"), ("surprisal", "nats"))):
        every = Values(scores[:, :, i].permute(2, 1, 0), axes, unit)
        mean = mean_with_interval(every)
        values |= {name: mean["mean"], f"{name}_low": mean["low"], f"{name}_high": mean["high"]}
        values[f"{name}_per_prompt"] = every
    return values


def _plots(n: int) -> tuple[Plot, ...]:
    over = interval_words(n, "prompts")
    caveat = (
        "Later blocks of the inspection prompt still compute: a patchscope reads with more of the model than a lens."
    )
    return (
        Plot(
            "lines",
            "precision",
            x="layer",
            series="method",
            low="precision_low",
            high="precision_high",
            title="Precision of the next token",
            caption=f"Share of prompts whose final prediction is the most probable token read at each layer ({over}).",
            caveat=caveat,
            options={"y_range": [0, 1]},
        ),
        Plot(
            "lines",
            "surprisal",
            x="layer",
            series="method",
            low="surprisal_low",
            high="surprisal_high",
            title="Surprisal of the model's prediction",
            caption=f"Minus the log-probability that each reading gives the token the model predicts ({over}).",
            caveat=caveat,
            options={"log_y": True},
        ),
    )
