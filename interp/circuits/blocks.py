"""A block as the graph sees it: matrices that read the residual stream through a norm, and matrices that write to it.

What is taken from a model's modules is not assumed but tried, once a model, on a few tokens: the stream is the sum of
its writers, queries, keys and values are the matrices times the normalised stream, and heads add up to the attention's
output. A model that does something else on the way is refused.

Where a norm follows the attention (Gemma 2, OLMo 2), a head writes its share of the normalised sum: gain ⊙ (z W_O) / σ
with the scale σ of the run at hand. Shares add up to what the attention writes, in every run.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.norms import norm_of, wide
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.partial import hooked, run
from interp.hooks.reach import embedding_device, unhooked
from interp.hooks.sites import Site, hook_point, hook_points, n_heads_at, reached_hooks

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-7}
"""How far the parts may miss the model's own activations, relative to the largest; 3e-2 in lower precision."""


class Block:
    """One block: its norms, where its MLP reads, and its heads' matrices."""

    def __init__(self, model: Any, layer: int) -> None:
        self.layer = layer
        block = model.blocks[layer]
        self._attention = block.attn
        norms = {name: getattr(block, name, None) for name in ("ln1", "ln2", "ln1_post")}
        sequential = sites.resid_mid(layer).hook in reached_hooks(model)
        self.has_mlp = sites.mlp_out(layer).hook in reached_hooks(model)
        self.before_attention = norm_of(norms["ln1"])
        self.after_attention = norm_of(norms["ln1_post"])
        # Some parallel blocks read one norm for both.
        shared = norms["ln2"] is None and not sequential
        self.before_mlp = norm_of(norms["ln1"] if shared else norms["ln2"])
        self.mlp_stream = sites.resid_mid(layer) if sequential else sites.resid_pre(layer)
        self._sizes = {letter: n_heads_at(model, Site(letter, layer)) for letter in "qkv"}
        self._biases: dict[str, Tensor] = {}

    @property
    def n_readers(self) -> int:
        """How many queries, keys and values there are."""
        return sum(self._sizes.values())

    def columns(self, letter: str) -> slice:
        """Where the queries, keys or values stand among all q, then all k, then all v."""
        start = sum(self._sizes[other] for other in "qkv"[: "qkv".index(letter)])
        return slice(start, start + self._sizes[letter])

    def matrix(self, letter: str) -> Float[Tensor, "head d_model d_head"]:
        """W_Q, W_K or W_V ("q", "k", "v") of every (key/value) head as the model has it, at least float32."""
        return wide(getattr(self._attention, f"W_{letter.upper()}").detach())

    def bias(self, letter: str) -> Float[Tensor, "head d_head"]:
        """What is added to the normalised stream's product with `matrix`, the norm's own bias included."""
        if letter not in self._biases:
            self._biases[letter] = self._bias(letter)
        return self._biases[letter]

    def _bias(self, letter: str) -> Float[Tensor, "head d_head"]:
        weight = self.matrix(letter)
        own = getattr(self._attention, f"b_{letter.upper()}", None)
        total = weight.new_zeros(weight.shape[0], weight.shape[2])
        if isinstance(own, Tensor):
            total = total + wide(own.detach()).view_as(total)
        if self.before_attention.bias is not None:
            total = total + torch.einsum("d,hde->he", self.before_attention.bias, weight)
        return total

    def read(
        self, letter: str, stream: Float[Tensor, "*at d_model"], heads: Any = slice(None)
    ) -> Float[Tensor, "*at head d_head"]:
        """Queries, keys or values that (some) heads make of a residual stream."""
        normed = self.before_attention.normalised(stream)[0]
        weight = self.before_attention.fold_in(self.matrix(letter)[heads])
        return torch.einsum("...d,hde->...he", normed, weight) + self.bias(letter)[heads]

    @property
    def out_matrix(self) -> Float[Tensor, "head d_head d_model"]:
        """What z is written with; where a norm follows, its gain and centre included (divide z by the scale then)."""
        return self.after_attention.fold_out(wide(self._attention.W_O.detach()))

    @property
    def after_attention_hook(self) -> str | None:
        """The name of the hook at which the norm behind the attention is read; None where there is no such norm."""
        return f"blocks.{self.layer}.ln1_post.hook_in" if self.after_attention.divides else None


def blocks_of(model: Any) -> list[Block]:
    """Every block of a model. Raises InputError for a model whose blocks are not of these parts."""
    blocks = [Block(model, layer) for layer in range(int(model.cfg.n_layers))]
    if model not in _TRIED:
        _TRIED[model] = _disagreement(model, blocks)
    if _TRIED[model] is not None:
        raise InputError(f"this model has no graph of heads and MLPs: {_TRIED[model]}")
    return blocks


_TRIED: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


@torch.no_grad()
def _disagreement(model: Any, blocks: list[Block]) -> str | None:
    """What the parts get wrong on a few tokens, or None."""
    try:
        seen = _probe(model, blocks)
        weights = [(block.matrix(letter), block.out_matrix) for block in blocks for letter in "qkv"]
    except (AttributeError, TypeError) as error:
        return f"its attention has no matrices to read ({error})"
    del weights
    tolerance = TOLERANCE.get(next(iter(seen.values())).dtype, 3e-2)

    def differs(ours: Tensor, site: Site) -> bool:
        theirs = wide(seen[site.hook])
        return float((ours - theirs).abs().max()) > tolerance * float(theirs.abs().max() + 1e-30)

    stream = wide(seen[sites.resid_pre(0).hook])
    for block in blocks:
        layer = block.layer
        here = wide(seen[sites.resid_pre(layer).hook])
        for letter in "qkv":
            if differs(block.read(letter, here), Site(letter, layer)):
                return f"the {letter} of layer {layer} are not a matrix times the normalised stream"
        if differs(_attention_output(block, seen), sites.attn_out(layer)):
            return f"the heads of layer {layer} do not add up to what its attention writes"
        stream = stream + wide(seen[sites.attn_out(layer).hook])
        if block.has_mlp:
            if differs(block.before_mlp(seen[block.mlp_stream.hook]), sites.mlp_in(layer)):
                return f"the MLP of layer {layer} does not read the normalised stream"
            stream = stream + wide(seen[sites.mlp_out(layer).hook])
        if differs(stream, sites.resid_post(layer)):
            return f"the stream after layer {layer} is not the sum of what attention and MLP wrote (scaled residuals?)"
    return None


def _attention_output(block: Block, seen: dict[str, Tensor]) -> Tensor:
    z = wide(seen[sites.z(block.layer).hook])
    after = block.after_attention
    if block.after_attention_hook is not None:
        z = z * after.normalised(seen[block.after_attention_hook])[1][..., None]
    written = torch.einsum("...he,hed->...d", z, block.out_matrix)
    bias = getattr(block._attention, "b_O", None)
    if isinstance(bias, Tensor):
        bias = wide(bias.detach())
        if block.after_attention_hook is not None:
            scale = after.normalised(seen[block.after_attention_hook])[1]
            bias = after.fold_out(bias[None])[0] * scale
        written = written + bias
    return written if after.bias is None else written + after.bias


def _probe(model: Any, blocks: list[Block]) -> dict[str, Tensor]:
    """Every activation that the parts are held against, by hook name."""
    names = [sites.resid_pre(0).hook]
    for block in blocks:
        kinds = ["resid_pre", "q", "k", "v", "z", "attn_out", "resid_post"]
        kinds += ["mlp_in", "mlp_out", block.mlp_stream.kind] if block.has_mlp else []
        for kind in kinds:
            hook_point(model, Site(kind, block.layer))  # refuses what the model lacks
            names.append(Site(kind, block.layer).hook)
        names += [block.after_attention_hook] if block.after_attention_hook else []
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda value: seen.update({name: value.clone()})

    points = hook_points(model)
    n_tokens = min(4, int(model.cfg.n_ctx or 4))  # some compiled programs have a shorter context
    tokens = torch.arange(1, n_tokens + 1, device=embedding_device(model))[None] * (int(model.cfg.d_vocab) // 6) + 1
    with unhooked(points.values()), contextlib.ExitStack() as stack:
        for name in dict.fromkeys(names):
            stack.enter_context(hooked(points[name], keep(name)))
        run(model, tokens % int(model.cfg.d_vocab))
    return seen
