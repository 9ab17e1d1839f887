"""A linear residual model: what every edge does is matrix algebra, in closed form, for any pair of prompts.

Construction. Two layers of two heads and an MLP, no normalisation, random weights. Heads read queries and keys from
the positions alone, so attention patterns are soft and uneven but the same for every prompt of a length; values read
and outputs write the content alone. The MLPs are linear maps, built exactly from relu(x) - relu(-x) = x. So

    logits = unembed( P_last (embed + sum of everything written before) )

is linear in the token codes, along each of the model's 46 edges.

Truth, for counterfactual ablation, the same in both directions: with D_u[pos, d_model] what writer u writes on the
clean prompt minus the corrupt one, and G_r what a unit change of reader r's input does to the metric,

    effect(u -> r) = sum over pos, d_model of D_u · G_r        (`edge_effects`)

Edges into queries and keys have none, since positions do not differ (under zero ablation those from `embed` do, and
the algebra above does not hold for them). Gradients are constant, so edge attribution at any point, integrated or
not, equals exact patching. The edges into `logits`, and those crossing any cut between
layers, each sum to the total effect m(clean) - m(corrupt); all edges together do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.native import Shape, blank, write_embeddings, write_head, write_linear_mlp, write_unembedding
from interp.models.toy.truth import DENOISE, NOISE, ZERO, Edge, Truth, edge_names

N_CTX = 12
D_VOCAB = 20
_CONTENT, _POSITION = 12, 4
_SHAPE = Shape(
    n_layers=2,
    n_heads=2,
    d_model=_CONTENT + _POSITION,
    d_head=4,
    n_ctx=N_CTX,
    d_vocab=D_VOCAB,
    d_mlp=2 * (_CONTENT + _POSITION),
)

_EDGES = edge_names(n_layers=2, n_heads=2, attn_only=False)
_CARRYING = frozenset(edge for edge in _EDGES if not edge[1].endswith((".q", ".k")))
_POSITIONAL = frozenset(edge for edge in _EDGES if edge[0] == "embed" and edge[1].endswith((".q", ".k")))

TRUTH = Truth(
    edges=_EDGES,
    active=MappingProxyType({NOISE: _CARRYING, DENOISE: _CARRYING, ZERO: _CARRYING | _POSITIONAL}),
    effects=MappingProxyType({}),
    sufficient=(_CARRYING,),
    sufficient_zero=None,
    total=None,
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    model = blank("toy/linear", _SHAPE)
    weights = _weights()
    write_embeddings(model, weights.tokens, weights.positions)
    for layer in range(_SHAPE.n_layers):
        for head in range(_SHAPE.n_heads):
            write_head(
                model,
                layer,
                head,
                query=weights.query[layer, head],
                key=weights.key[layer, head],
                value=weights.value[layer, head],
                output=weights.output[layer, head],
            )
        write_linear_mlp(model, layer, weights.mlp[layer])
    write_unembedding(model, weights.readout)
    return model


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; the prompts differ everywhere."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(D_VOCAB, (n, N_CTX), generator=generator)
    corrupt = (clean + torch.randint(1, D_VOCAB, (n, N_CTX), generator=generator)) % D_VOCAB
    answers = torch.randint(D_VOCAB, (n, 1), generator=generator)
    distractors = (answers + torch.randint(1, D_VOCAB, (n, 1), generator=generator)) % D_VOCAB
    return clean, corrupt, answers, distractors


def edge_effects(
    clean: Int[Tensor, "n pos"],
    corrupt: Int[Tensor, "n pos"],
    answers: Int[Tensor, "n 1"],
    distractors: Int[Tensor, "n 1"],
) -> dict[Edge, Float[Tensor, "n"]]:
    """The exact effect of every edge under counterfactual ablation, in logits, float64, from the weights alone."""
    weights = _weights(torch.float64)
    patterns = weights.patterns(clean.shape[1])
    differences = _differences(weights, patterns, weights.tokens[clean] - weights.tokens[corrupt])
    direction = (weights.readout.T[answers[:, 0]] - weights.readout.T[distractors[:, 0]])[:, None, :]
    at_last = torch.zeros(1, clean.shape[1], 1, dtype=torch.float64)
    at_last[:, -1] = 1.0
    gradients = _gradients(weights, patterns, direction * at_last)
    nothing = torch.zeros(len(clean), dtype=torch.float64)
    return {
        (writer, reader): (differences[writer] * gradients[reader]).sum(dim=(1, 2)) if reader in gradients else nothing
        for writer, reader in TRUTH.edges
    }


@dataclass(frozen=True, eq=False)
class _Weights:
    tokens: Float[Tensor, "d_vocab d_model"]
    positions: Float[Tensor, "n_ctx d_model"]
    query: Float[Tensor, "layer head d_model d_head"]
    key: Float[Tensor, "layer head d_model d_head"]
    value: Float[Tensor, "layer head d_model d_head"]
    output: Float[Tensor, "layer head d_head d_model"]
    mlp: Float[Tensor, "layer d_model d_model"]
    readout: Float[Tensor, "d_model d_vocab"]

    def patterns(self, n_pos: int) -> Float[Tensor, "layer head query key"]:
        """Attention of every head over prompts of `n_pos` tokens, whatever they say."""
        positions = self.positions[:n_pos]
        scores = (positions @ self.query) @ (positions @ self.key).mT
        future = torch.ones(n_pos, n_pos, dtype=torch.bool).triu(1)
        return scores.masked_fill(future, float("-inf")).softmax(-1)


def _weights(dtype: torch.dtype = torch.float32) -> _Weights:
    generator = torch.Generator().manual_seed(0)
    content, position = torch.zeros(_SHAPE.d_model), torch.zeros(_SHAPE.d_model)
    content[:_CONTENT] = 1.0
    position[_CONTENT:] = 1.0
    heads = (_SHAPE.n_layers, _SHAPE.n_heads, _SHAPE.d_model, _SHAPE.d_head)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    weights = _Weights(
        tokens=draw(D_VOCAB, _SHAPE.d_model) * content,
        positions=draw(N_CTX, _SHAPE.d_model) * position,
        query=draw(*heads) * position[:, None] / 2,
        key=draw(*heads) * position[:, None] / 2,
        value=draw(*heads) * content[:, None] / 4,
        output=draw(*heads).mT * content / 2,
        mlp=draw(_SHAPE.n_layers, _SHAPE.d_model, _SHAPE.d_model) * content[:, None] * content / 6,
        readout=draw(_SHAPE.d_model, D_VOCAB) * content[:, None] / 4,
    )
    return _Weights(**{name: tensor.to(dtype) for name, tensor in vars(weights).items()})


def _differences(
    weights: _Weights, patterns: Float[Tensor, "layer head query key"], embedded: Float[Tensor, "n pos d_model"]
) -> dict[str, Float[Tensor, "n pos d_model"]]:
    """What every writer writes on the clean prompt minus the corrupt one: the model itself, since it is linear."""
    written = {"embed": embedded}
    residual = embedded
    for layer in range(_SHAPE.n_layers):
        for head in range(_SHAPE.n_heads):
            moved = patterns[layer, head] @ residual
            written[f"a{layer}.{head}"] = moved @ weights.value[layer, head] @ weights.output[layer, head]
        middle = residual + sum(written[f"a{layer}.{head}"] for head in range(_SHAPE.n_heads))
        written[f"m{layer}"] = middle @ weights.mlp[layer]
        residual = middle + written[f"m{layer}"]
    return written


def _gradients(
    weights: _Weights, patterns: Float[Tensor, "layer head query key"], at_logits: Float[Tensor, "n pos d_model"]
) -> dict[str, Float[Tensor, "n pos d_model"]]:
    """What a unit change of each reader's input does to the metric: the transposed model, from the logits back."""
    gradients = {"logits": at_logits}
    residual = at_logits
    for layer in reversed(range(_SHAPE.n_layers)):
        gradients[f"m{layer}"] = residual @ weights.mlp[layer].T
        residual = residual + gradients[f"m{layer}"]
        for head in range(_SHAPE.n_heads):
            through = residual @ (weights.value[layer, head] @ weights.output[layer, head]).T
            gradients[f"a{layer}.{head}.v"] = patterns[layer, head].T @ through
        residual = residual + sum(gradients[f"a{layer}.{head}.v"] for head in range(_SHAPE.n_heads))
    return gradients
