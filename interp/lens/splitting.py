"""The same attribution on different axes: by layer, by component, by head, by source token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name, largest_heads
from interp.hooks.prompts import PromptTokens
from interp.lens.questions import Question, position_names
from interp.lens.writers import Written, written_from
from interp.results import Axis


@dataclass(frozen=True, eq=False)
class Split:
    """data [example, *axes]; rest [example, rest_axis]: what stands beside it, so that both add up to the total."""

    data: Float[Tensor, "example *axes"]
    axes: tuple[Axis, ...]
    rest: Float[Tensor, "example rest"] | None = None
    rest_axis: Axis = field(default_factory=lambda: Axis("component", ()))
    settings: dict[str, Any] = field(default_factory=dict)


def by_layer(found: Written) -> Split:
    """Embedding, each layer's attention and MLP together, and the biases of the readout."""
    parts = found.parts
    data = torch.cat([parts.embed[:, None], parts.attention + parts.mlp, parts.bias[:, None]], dim=1)
    n_layers = parts.attention.shape[1]
    return Split(data, (Axis("part", ("embed", *(str(layer) for layer in range(n_layers)), "bias")),))


def by_component(found: Written) -> Split:
    """Embedding, attention and MLP of each layer ("a3", "m3"), and the biases of the readout."""
    columns = _components(found)
    return Split(torch.stack(list(columns.values()), dim=1), (Axis("component", tuple(columns)),))


def _components(found: Written) -> dict[str, Float[Tensor, " batch"]]:
    parts = found.parts
    columns = {"embed": parts.embed}
    for layer in range(parts.attention.shape[1]):
        columns[f"a{layer}"] = parts.attention[:, layer]
        if bool(parts.mlp.any()):
            columns[f"m{layer}"] = parts.mlp[:, layer]
    return columns | {"bias": parts.bias}


def by_head(found: Written) -> Split:
    """Every head; beside them embedding, MLPs, the attention layers' output biases, and the readout's."""
    data = torch.stack([heads.heads for heads in found.heads.values()], dim=1)
    rest = {}
    for name, column in _components(found).items():
        layer = int(name[1:]) if name[0] == "a" and name[1:].isdigit() else None
        rest[name if layer is None else f"{name} bias"] = column if layer is None else found.heads[layer].bias
    # Most models have no biases there: twelve columns of zeros say nothing.
    kept = {name: column for name, column in rest.items() if not name.endswith(" bias") or bool(column.any())}
    axes = (Axis("layer", tuple(found.heads)), Axis("head", tuple(range(data.shape[2]))))
    return Split(data, axes, torch.stack(list(kept.values()), dim=1), Axis("component", tuple(kept)))


def by_source(
    model: Any,
    question: Question,
    found: Written,
    heads: Sequence[HeadLike] | HeadLike | int,
    sources: str | None,
    batch_size: int | None,
) -> Split:
    """Chosen heads, by the token whose value they copy: attention to it, times what that value writes."""
    chosen = strongest(found, heads) if isinstance(heads, int) else as_heads(model, heads)
    data = written_from(model, question, found, chosen, batch_size)
    axis = Axis("head", tuple(head_name(head) for head in chosen))
    roles = [role for role in question.prompts.positions if role != "end"]
    if sources is None:
        sources = "role" if roles else "position"
    if sources == "position":
        n_pos = data.shape[2]
        where = Axis("source", position_names(model, question.prompts, torch.arange(n_pos).expand(len(data), -1)))
    elif sources != "role":
        raise unknown("kind of source", sources, ("position", "role"))
    elif not roles:
        raise InputError("these prompts have no named positions; use sources='position'")
    else:
        data, names = _by_role(data, question.prompts)
        where = Axis("source", names)
    return Split(data, (axis, where), settings={"heads": list(axis.labels), "sources": sources})


def strongest(found: Written, n: int) -> list[Head]:
    """The n heads whose mean contribution is largest in size."""
    if n < 1:
        raise InputError(f"heads={n} leaves no head; ask for at least one")
    means = torch.stack([heads.heads.mean(0) for heads in found.heads.values()])
    return largest_heads(means.abs(), n)


def _by_role(
    data: Float[Tensor, "batch head key"], prompts: PromptTokens
) -> tuple[Float[Tensor, "batch head role"], tuple[str, ...]]:
    """Contributions at the named positions, and of all other tokens together. A token counts for its first role."""
    left = data.clone()
    columns = []
    for index in prompts.positions.values():
        at = index.cpu().clamp(max=data.shape[2] - 1)[:, None, None].expand(-1, data.shape[1], 1)
        inside = (index.cpu() < data.shape[2])[:, None, None]
        columns.append((left.gather(2, at) * inside).squeeze(2))
        left.scatter_(2, at, torch.where(inside, 0.0, left.gather(2, at)))
    return torch.stack([*columns, left.sum(2)], dim=2), (*prompts.positions, "other")
