"""A logit difference as a sum: what embedding, attention, MLPs, heads and source tokens add to it directly.

The residual stream is a sum of what was written into it, and a logit difference a product with it (see `directions`),
so it is the sum of one number for each writer. Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"; Wang et al. 2022, "Interpretability in the Wild".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import Activations
from interp.hooks.head_names import Head
from interp.hooks.sites import Site, reached_hooks
from interp.lens.directions import affine_part, has_output_transform, through_final_norm, unembedding_direction

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""How far the sum may be off, relative to the sum of the parts' sizes; 2e-2 in lower precision."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each writer adds to the logit difference of each prompt, in logits, before any output transform.

    embed [batch]: tokens and positions. attention, mlp [batch, layer] (0 where a model has no MLPs). bias [batch]:
    final norm and unembedding. total [batch]: the logit difference itself. direction [batch, d_model]: what the last
    residual stream is read along.
    """

    embed: Float[Tensor, " batch"]
    attention: Float[Tensor, "batch layer"]
    mlp: Float[Tensor, "batch layer"]
    bias: Float[Tensor, " batch"]
    total: Float[Tensor, " batch"]
    direction: Float[Tensor, "batch d_model"]

    @property
    def error(self) -> Float[Tensor, " batch"]:
        """The total less the sum of its parts: rounding."""
        parts = self.embed + self.attention.sum(1) + self.mlp.sum(1) + self.bias
        return self.total - parts

    @property
    def size(self) -> Float[Tensor, " batch"]:
        """Sum of the parts' sizes: what the error is relative to."""
        return self.embed.abs() + self.attention.abs().sum(1) + self.mlp.abs().sum(1) + self.bias.abs()


def component_sites(model: Any) -> list[Site]:
    """The sites whose values at the read position `contributions` needs."""
    n_layers = int(model.cfg.n_layers)
    parts = [sites.attn_out(layer) for layer in range(n_layers)]
    parts += [sites.mlp_out(layer) for layer in range(n_layers) if has_mlp(model)]
    return [sites.resid_pre(0), *parts, sites.resid_post(n_layers - 1)]


def has_mlp(model: Any) -> bool:
    """Whether the model's blocks have MLPs."""
    return sites.mlp_out(0).hook in reached_hooks(model)


@torch.no_grad()
def contributions(
    model: Any,
    acts: Activations,
    answers: Int[Tensor, "batch answer"],
    distractors: Int[Tensor, "batch distractor"] | None,
) -> Contributions:
    """Direct contributions of embedding, attention layers and MLPs to mean answer less mean distractor logit.

    acts: `component_sites` at one position, [batch, d_model], and in `.logits` the model's own logits there. answers,
    distractors: padded with -1; without distractors: less the mean over the vocabulary. Raises InputError when the
    parts do not add up to the logits: the model then does something else on the way.
    """
    n_layers = int(model.cfg.n_layers)
    stream = acts[sites.resid_post(n_layers - 1)]
    last = stream.float()
    unembedding, unembedding_bias = unembedding_direction(model, answers, distractors)
    direction, norm_bias = through_final_norm(model, last, unembedding)
    normed = model.ln_final(last[None])[0].float()

    def along(site: Site) -> Tensor:
        return (acts[site].float() * direction).sum(-1).cpu()

    attention = torch.stack([along(sites.attn_out(layer)) for layer in range(n_layers)], dim=1)
    mlp = torch.zeros_like(attention)
    if has_mlp(model):
        mlp = torch.stack([along(sites.mlp_out(layer)) for layer in range(n_layers)], dim=1)
    found = Contributions(
        along(sites.resid_pre(0)),
        attention,
        mlp,
        (norm_bias + unembedding_bias).cpu(),
        ((normed * unembedding).sum(-1) + unembedding_bias).cpu(),
        direction,
    )
    _check_sum(found.error, found.size, stream.dtype, "the parts of this model's residual stream", "its logits")
    if acts.logits is not None and not has_output_transform(model):
        own = _difference(acts.logits.float().cpu(), answers, distractors)
        _check_sum(own - found.total, found.size, stream.dtype, "final norm and unembedding", "the model's own logits")
    return found


def _difference(logits: Float[Tensor, "batch vocab"], answers: Tensor, distractors: Tensor | None) -> Tensor:
    down = logits.mean(-1) if distractors is None else _mean_at(logits, distractors)
    return _mean_at(logits, answers) - down


def _mean_at(logits: Float[Tensor, "batch vocab"], tokens: Int[Tensor, "batch token"]) -> Float[Tensor, " batch"]:
    real = tokens >= 0
    return (logits.gather(-1, tokens.clamp(min=0)) * real).sum(-1) / real.sum(-1)


@dataclass(frozen=True, eq=False)
class HeadContributions:
    """What the heads of one layer add, and along what direction each of them is read.

    heads [batch, head]. bias [batch]: of the output projection. slope [batch, head, d_head]: what z is read along.
    """

    heads: Float[Tensor, "batch head"]
    bias: Float[Tensor, " batch"]
    slope: Float[Tensor, "batch head d_head"]


@torch.no_grad()
def head_contributions(model: Any, layer: int, acts: Activations, found: Contributions) -> HeadContributions:
    """What each head of a layer adds directly; acts: z of the layer at the read position, [batch, head, d_head].

    Where a norm follows the attention (Gemma 2, OLMo 2), it too is held at its actual scale. Raises InputError when the
    heads do not add up to the layer's attention.
    """
    z = acts[sites.z(layer)]
    attention = model.blocks[layer].attn
    project = getattr(getattr(attention, "o", None), "original_component", None)
    if project is None:
        raise InputError(f"the attention of layer {layer} has no output projection that could be split into heads")
    flat = z.flatten(-2)
    direction, norm_bias = found.direction, torch.zeros(len(z))
    post = getattr(model.blocks[layer], "ln1_post", None)
    if post is not None:
        direction, after = affine_part(post, project(flat).float(), direction)
        norm_bias = after.cpu()
    slope, bias = affine_part(project, flat, direction)
    slope = slope.view(z.shape)
    parts = HeadContributions((z.float() * slope).sum(-1).cpu(), bias.cpu() + norm_bias, slope)
    error = found.attention[:, layer] - parts.heads.sum(1) - parts.bias
    _check_sum(error, found.size, z.dtype, f"the heads of layer {layer}", "its attention")
    return parts


@torch.no_grad()
def source_contributions(
    model: Any,
    heads: Sequence[Head],
    by_layer: dict[int, HeadContributions],
    patterns: dict[int, Float[Tensor, "batch head key"]],
    values: dict[int, Float[Tensor, "batch key kv_head d_head"]],
) -> Float[Tensor, "batch chosen key"]:
    """How much of each head's contribution comes from each token: attention to it, times its value along z's direction.

    Raises InputError when the tokens do not add up to the head.
    """
    made = []
    for layer, head in heads:
        per_group = int(model.cfg.n_heads) // values[layer].shape[2]
        value = values[layer][:, :, head // per_group].float()
        written = torch.einsum("bkd,bd->bk", value, by_layer[layer].slope[:, head])
        made.append((patterns[layer][:, head].float() * written).cpu())
        whole = by_layer[layer].heads[:, head]
        error, size = whole - made[-1].sum(1), made[-1].abs().sum(1) + whole.abs()
        _check_sum(error, size, values[layer].dtype, f"the source tokens of head {layer}.{head}", "its contribution")
    return torch.stack(made, dim=1)


def _check_sum(error: Tensor, size: Tensor, dtype: torch.dtype, parts: str, whole: str) -> None:
    tolerance = TOLERANCE.get(dtype, 2e-2)
    worst = int((error.abs() / size.clamp(min=1e-30)).argmax())
    if float(error[worst].abs()) > tolerance * float(size[worst]) + 1e-12:
        raise InputError(
            f"{parts} do not add up to {whole} (off by {float(error[worst]):.3g}, the parts' sizes sum to "
            f"{float(size[worst]):.3g}), so this model combines them in a way that direct attribution does not know"
        )
