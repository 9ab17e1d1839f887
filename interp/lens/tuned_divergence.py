"""How far the prediction read from a vector is from the model's own, with its gradient: the loss of a tuned lens.

With p the model's distribution and q = softmax(W x + b) what is read of a normed vector x,

    KL(p || q)  =  sum p log p  -  x . (W^T p)  -  b . p  +  log Z(x),     its gradient  W^T q - W^T p

so W^T p is computed once a token and serves all layers, and of a layer only log Z needs the vocabulary: one product to
get it and one to get its gradient, a block of rows at a time. `vocabulary` columns instead of all make both products
cheaper: log Z is then an estimate from the tokens that the batch finds probable and a random sample of the others, each
of which stands for several (importance sampling, as in sampled softmax); everything else stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.partial import can_read_narrowly
from interp.lens.directions import has_output_transform

CHUNK_BYTES = 2**25
"""Logits that exist at a time."""
SURE = 0.5
"""Share of the sampled columns that are not drawn: the tokens most probable in the batch."""


@dataclass(frozen=True, eq=False)
class Unembedding:
    """What turns a normed vector into logits: weights [vocab, d_model] (rows), bias [vocab], in float32.

    transform: what the model does with its logits afterwards (a soft cap, a scale), None for nothing.
    """

    norm: Any
    weights: Float[Tensor, "vocab d_model"]
    bias: Float[Tensor, " vocab"]
    transform: Any = None

    @classmethod
    def of(cls, model: Any) -> Unembedding:
        """The model's own. Raises InputError where its logits come about otherwise."""
        if not can_read_narrowly(model):
            raise InputError(
                "this model's logits are not final norm and unembedding of its last residual stream (or something "
                "hooks them just now), so a lens has nothing to be tuned to"
            )
        transform = model.adapter.apply_output_logits_transform if has_output_transform(model) else None
        return cls(model.ln_final, model.W_U.T.detach().float(), model.b_U.detach().float(), transform)

    def normed(self, vectors: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """The model's final norm, with gradient, float32."""
        flat = vectors.reshape(1, -1, vectors.shape[-1]).to(next(self.norm.parameters(), vectors).dtype)
        return self.norm(flat)[0].float().view(vectors.shape)

    def logits(self, normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """All logits of normed vectors: for a few rows at a time."""
        raw = torch.addmm(self.bias, normed, self.weights.T)
        return raw if self.transform is None else self.transform(raw)

    def rows_at_a_time(self, n_columns: int | None = None) -> int:
        """Rows whose logits fit into CHUNK_BYTES."""
        return max(1, CHUNK_BYTES // (4 * (n_columns or len(self.weights))))


@dataclass(frozen=True, eq=False)
class Target:
    """The model's own predictions of some tokens, as far as a divergence from them needs them.

    normed [token, d_model]: what they are read from. negative_entropy [token], in nats. pull [token, d_model]: W^T p;
    offset [token]: b . p. mean [vocab]: the mean distribution.
    """

    normed: Float[Tensor, "token d_model"]
    negative_entropy: Float[Tensor, " token"]
    pull: Float[Tensor, "token d_model"]
    offset: Float[Tensor, " token"]
    mean: Float[Tensor, " vocab"]

    @classmethod
    @torch.no_grad()
    def of(cls, head: Unembedding, final: Float[Tensor, "token d_model"]) -> Target:
        """From the last residual stream of the tokens."""
        normed = head.normed(final)
        total = torch.zeros(len(head.weights), device=normed.device)
        parts = []
        for rows in normed.split(head.rows_at_a_time()):
            log_p = head.logits(rows).log_softmax(-1)
            p = log_p.exp()
            total += p.sum(0)
            parts.append(((p * log_p.clamp(min=-1e4)).sum(-1), p @ head.weights, p @ head.bias))
        negative_entropy, pull, offset = (torch.cat(pieces) for pieces in zip(*parts))
        return cls(normed, negative_entropy, pull, offset, total / len(normed))


@dataclass(frozen=True, eq=False)
class Columns:
    """Tokens of the vocabulary that stand for all of it: their ids, and the logarithm of how many each stands for."""

    ids: Int[Tensor, " column"]
    log_weights: Float[Tensor, " column"]

    @classmethod
    def drawn(cls, target: Target, n: int, generator: torch.Generator) -> Columns | None:
        """The most probable tokens of the batch, and a sample of the others; None where n is all of the vocabulary."""
        n_vocab = len(target.mean)
        if n >= n_vocab:
            return None
        order = target.mean.argsort(descending=True)
        n_sure = int(n * SURE)
        others = torch.randperm(n_vocab - n_sure, generator=generator)[: n - n_sure].to(order.device)
        weights = torch.zeros(n, device=order.device)
        weights[n_sure:] = torch.tensor((n_vocab - n_sure) / (n - n_sure)).log()
        return cls(torch.cat([order[:n_sure], order[n_sure:][others]]), weights)


def divergence(
    head: Unembedding, vectors: Float[Tensor, "*layer token d_model"], target: Target, columns: Columns | None = None
) -> Float[Tensor, "*layer token"]:
    """KL(model || what is read of the vectors) in nats, differentiable in the vectors; see the module for the method.

    columns: estimate the normaliser from these tokens (ignored by models that bend their logits afterwards).
    """
    normed = head.normed(vectors)
    if head.transform is not None:
        return divergence_by_hand(head, normed, target)
    weights, bias = head.weights, head.bias
    if columns is not None:
        weights, bias = weights[columns.ids], bias[columns.ids] + columns.log_weights
    flat = normed.reshape(-1, normed.shape[-1])
    log_z = _LogNormaliser.apply(flat, weights, bias, head.rows_at_a_time(len(weights))).view(normed.shape[:-1])
    return target.negative_entropy - (normed * target.pull).sum(-1) - target.offset + log_z


class _LogNormaliser(torch.autograd.Function):
    """log sum exp (W x + b) of many rows; the gradient W^T softmax is made in the same pass, while the logits exist."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, bias: Tensor, step: int) -> Tensor:
        """x [row, d_model]; `step` rows a time. Returns [row]."""
        values = x.new_empty(len(x))
        slopes = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            logits = torch.addmm(bias, x[rows], weights.T)
            highest = logits.amax(-1, keepdim=True)
            sums = logits.sub_(highest).exp_().sum(-1, keepdim=True)
            values[rows] = (sums.log() + highest)[:, 0]
            if slopes is not None:
                slopes[rows] = (logits @ weights) / sums
        ctx.save_for_backward(slopes)
        return values

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """The stored slope, scaled."""
        (slopes,) = ctx.saved_tensors
        return upstream[0][:, None] * slopes, None, None, None


def divergence_by_hand(
    head: Unembedding, normed: Float[Tensor, "*layer token d_model"], target: Target
) -> Float[Tensor, "*layer token"]:
    """The same by the definition, over the whole vocabulary, by automatic differentiation: the slow twin."""
    n_tokens = len(target.normed)
    layers = normed.reshape(-1, n_tokens, normed.shape[-1])
    parts = []
    for start in range(0, n_tokens, head.rows_at_a_time()):
        rows = slice(start, start + head.rows_at_a_time())
        log_p = head.logits(target.normed[rows]).log_softmax(-1)
        parts.append(torch.stack([_kl(log_p, head.logits(layer[rows]).log_softmax(-1)) for layer in layers]))
    return torch.cat(parts, dim=-1).view(normed.shape[:-1])


def _kl(log_p: Float[Tensor, "row vocab"], log_q: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    return (log_p.exp() * (log_p - log_q)).sum(-1)
