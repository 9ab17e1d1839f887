"""Is a tuned lens better than the logit lens? Both against the model's own predictions, on texts it was not trained on.

Belrose et al. 2023, section 3: the KL divergence from the model's prediction at each layer; and the bias, the KL of the
mean distribution from the model's mean distribution, which a faithful reading of uncertain layers would have at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.lens.translators import TunedLens
from interp.lens.tuned_divergence import Unembedding
from interp.lens.tuned_reading import lens_settings, read_distributions
from interp.lens.tuned_streams import OUTLIER_RATIO, draw_positions, streams_at, usual_tokens
from interp.lens.tuned_texts import Texts, as_contexts, tokens_sha256
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, interval_words, mean_with_interval
from interp.runs import progress, provenance

LENSES = ("logit lens", "tuned lens")


class TunedLensEvaluation(Result):
    """Axes: lens ("logit lens", "tuned lens"), layer (the stream that enters that block), example (a context).

    kl [lens, layer], kl_low, kl_high, kl_per_context: mean KL(model || lens), in nats. bias [lens, layer]: KL of the
    mean distribution over all tokens from the model's. log_prob_difference [lens, layer] (with _low, _high,
    _per_context): log-probability of the actual next token, less what the model gives it. agreement [lens, layer] (with
    intervals): share of tokens at which the most probable token is the model's.
    """

    kind: ClassVar[str] = "tuned_lens_evaluation"


def evaluate_tuned_lens(
    model: Any,
    lens: TunedLens,
    texts: Texts,
    *,
    context: int = 256,
    n: int = 32,
    positions: int = 16,
    prepend_bos: bool = False,
    seed: int = 0,
    batch_size: int = 4,
) -> TunedLensEvaluation:
    """Both lenses on `n` contexts of texts that the lens was not trained on, `positions` random tokens of each.

    Give the texts that were held out: this cannot know them. First positions and tokens with a stream over ten times
    the median length are left out, as in training. Raises InputError for a lens of another model and for texts that are
    too short or have fewer than `n` contexts.
    """
    started = datetime.now()
    lens.check(model)
    head = Unembedding.of(model)
    generator = torch.Generator().manual_seed(seed)
    contexts = _drawn(as_contexts(model, texts, context, prepend_bos=prepend_bos), n, generator)
    at = draw_positions(n, context, positions, generator)
    sums = _measured(model, head, lens, contexts, at, batch_size)
    values = _values(sums)
    settings = {
        "context": context,
        "n": n,
        "positions": positions,
        "prepend_bos": prepend_bos,
        "left_out": f"first positions, and tokens with a stream over {OUTLIER_RATIO:g} times the median length",
        "n_tokens": sums.n_tokens,
        "tokens_sha256": tokens_sha256(contexts),
        "lens": lens_settings(lens),
    }
    return TunedLensEvaluation(
        values=values,
        settings=settings,
        provenance=provenance(model=identity(model), started=started, seed=seed),
        plots=_plots(n),
    )


def _drawn(contexts: Tensor, n: int, generator: torch.Generator) -> Int[Tensor, "context pos"]:
    if len(contexts) < n:
        raise InputError(f"the texts make {len(contexts)} contexts and {n} are wanted; use fewer, or more texts")
    return contexts[torch.randperm(len(contexts), generator=generator)[:n]]


@dataclass(eq=False)
class _Measured:
    """per_context [measure, context, lens, layer]. totals [lens, entry, vocab]: sums of distributions, the last the
    model's own."""

    per_context: Float[Tensor, "measure context lens layer"]
    totals: Float[Tensor, "lens entry vocab"]
    n_tokens: int


def _measured(
    model: Any, head: Unembedding, lens: TunedLens, contexts: Tensor, at: Tensor, batch_size: int
) -> _Measured:
    per_context, totals, n_tokens = [], None, 0
    with progress(len(contexts), "evaluating the lens") as bar:
        for rows, places in zip(contexts.split(batch_size), at.split(batch_size)):
            streams = streams_at(model, rows, places)
            following = _following(rows, places)
            usual = usual_tokens(streams.flatten(1, 2))
            n_tokens += int(usual.sum())
            found = []
            for translate in (None, lens):
                read = read_distributions(
                    head, streams.flatten(1, 2)[:, usual], following.flatten()[usual], translate=translate, totals=True
                )
                found.append(read)
            more = torch.stack([read.total for read in found])
            totals = more if totals is None else totals + more
            per_context.append(_by_context([_measures(read) for read in found], usual.view(places.shape)))
            bar.advance(len(rows))
    assert totals is not None
    return _Measured(torch.cat(per_context, dim=1), totals, n_tokens)


def _following(rows: Tensor, places: Tensor) -> Int[Tensor, "context position"]:
    """The token after each place, -1 after the last."""
    padded = torch.nn.functional.pad(rows, (0, 1), value=-1)
    return padded.gather(1, places + 1)


def _measures(read: Any) -> Float[Tensor, "measure layer token"]:
    return torch.stack([read.kl, read.log_prob - read.log_prob[-1:], read.agrees.float()])[:, :-1]


def _by_context(
    measures: list[Float[Tensor, "measure layer token"]], usual: Tensor
) -> Float[Tensor, "measure context lens layer"]:
    """Means over the tokens of each context that were read."""
    stacked = torch.stack(measures, dim=2)  # [measure, layer, lens, token]
    spread = stacked.new_full((*stacked.shape[:3], usual.numel()), float("nan"))
    spread[..., usual.flatten()] = stacked
    return spread.unflatten(-1, usual.shape).nanmean(-1).permute(0, 3, 2, 1)


def _values(sums: _Measured) -> dict[str, Values]:
    _, n_contexts, _, n_layers = sums.per_context.shape
    lenses, layers = Axis("lens", LENSES), Axis("layer", tuple(range(n_layers)))
    axes = (Axis("example", tuple(range(n_contexts))), lenses, layers)
    units = {"kl": "nats", "log_prob_difference": "nats", "agreement": "share"}
    values: dict[str, Values] = {}
    for (name, unit), data in zip(units.items(), sums.per_context):
        every = Values(data[~data.isnan().any(-1).any(-1)], _shortened(axes, data), unit)
        mean = mean_with_interval(every)
        values |= {name: mean["mean"], f"{name}_low": mean["low"], f"{name}_high": mean["high"]}
        values[f"{name}_per_context"] = every
    mean_q = sums.totals / sums.n_tokens  # [lens, layer, vocab]
    mean_p = mean_q[:, -1:]
    bias = torch.xlogy(mean_p, mean_p) - mean_p * mean_q.clamp(min=1e-38).log()
    values["bias"] = Values(bias.sum(-1)[:, :-1], (lenses, layers), "nats", "KL between mean distributions")
    return values


def _shortened(axes: tuple[Axis, ...], data: Tensor) -> tuple[Axis, ...]:
    """Without contexts of which nothing was read."""
    read = ~data.isnan().any(-1).any(-1)
    return (Axis("example", tuple(i for i, kept in enumerate(read.tolist()) if kept)), *axes[1:])


def _plots(n: int) -> tuple[Plot, ...]:
    over = interval_words(n, "contexts")
    layer = "Layer L is the stream that enters block L."
    words: dict[str, Any] = {"x": "layer", "series": "lens"}

    def bounded(name: str) -> dict[str, str]:
        return {"low": f"{name}_low", "high": f"{name}_high"}

    return (
        Plot(
            "lines",
            "kl",
            title="KL divergence from the model's prediction",
            caption=f"How far what is read at each layer is from what the model predicts ({over}). {layer}",
            caveat="A low divergence says that the prediction can be read off the layer, not that the model uses it.",
            options={"log_y": True},
            **words,
            **bounded("kl"),
        ),
        Plot(
            "lines",
            "bias",
            title="Bias: KL between mean distributions",
            caption=f"How far the mean distribution of each layer is from the mean of the model's predictions. {layer}",
            caveat="Over the tokens read; of few tokens the mean is rough, and the same ones serve both lenses.",
            options={"log_y": True},
            **words,
        ),
        Plot(
            "lines",
            "log_prob_difference",
            title="Log-probability of the next token, less the model's",
            caption=f"What each layer gives the token that follows in the text, less what the model gives it ({over}).",
            options={"zero_line": True},
            **words,
            **bounded("log_prob_difference"),
        ),
        Plot(
            "lines",
            "agreement",
            title="Agreement with the model's first choice",
            caption=f"Share of tokens at which a layer's most probable token is the model's ({over}). {layer}",
            options={"y_range": [0, 1]},
            **words,
            **bounded("agreement"),
        ),
    )
