"""The weight matrices of named parts: OV and QK of a head "18.6", W_in, W_gate and W_out of an MLP "m5".

OV = W_V W_O says what a head writes for what it reads, QK = W_Q R(offset) W_Kᵀ how much a query likes a key. Norms are
folded, so that rows (and the keys of QK) stand for the stream over its norm's scale. Under rotary positions there is a
QK matrix for every offset, and each result states which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from interp.errors import InputError, unknown
from interp.heads.matrices.factored import Factored
from interp.heads.matrices.mlps import READING, WRITING, fold_mlp, folded_mlp, mlp_matrices
from interp.heads.rotating import checked_offset, rotated
from interp.heads.weights import HeadWeights, fold_norm, fold_written, folded_heads, normalises_queries
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name

CIRCUITS = ("OV", "QK")
MATRICES = (*CIRCUITS, *READING, *WRITING)
READS, WRITES, QUERY, KEY, NEURONS = "reads", "writes", "query", "key", "neurons"
"""What the rows or columns of a matrix stand for: all but neurons are directions of the stream."""
_MLP = re.compile(r"^(?:m|mlp)\.?(\d+)$")

Part = Head | int
"""A head as (layer, head), or the MLP of a layer."""
PartLike = HeadLike | int


@dataclass(frozen=True, eq=False)
class WeightMatrix:
    """One matrix of one part.

    name: such as "18.6 OV". rows, columns: what they stand for. random: a matrix of Gaussian numbers of the same shape
    and folding. part, matrix: the two halves of the name.
    """

    part: Part
    matrix: str
    factored: Factored
    rows: str
    columns: str
    random: Callable[[Generator], Factored]

    @property
    def name(self) -> str:
        """Part and matrix: "18.6 OV", "m5 W_out"."""
        return f"{part_name(self.part)} {self.matrix}"

    @property
    def sides(self) -> tuple[str, ...]:
        """Which of rows and columns are directions of the stream."""
        return tuple(side for side in (self.rows, self.columns) if side != NEURONS)


def part_name(part: Part) -> str:
    """(18, 6) -> "18.6", 5 -> "m5"."""
    return f"m{part}" if isinstance(part, int) else head_name(part)


def layer_of(part: Part) -> int:
    """The layer of a head or MLP."""
    return part if isinstance(part, int) else part[0]


def stated_offset(model: Any, matrices: Sequence[WeightMatrix], offset: int) -> int | None:
    """The offset that a result of these matrices states: None where none is a QK that depends on it.

    Raises InputError for an offset that means nothing, also where no matrix needs one.
    """
    depends = any(matrix.matrix == "QK" for matrix in matrices)
    checked = checked_offset(model, offset) if offset or depends else None
    return checked if depends else None


def as_parts(model: Any, given: Sequence[PartLike] | PartLike) -> list[Part]:
    """Heads and MLPs by name: "18.6", (18, 6), "m5", 5. Raises InputError for what the model does not have."""
    return list(dict.fromkeys(_as_part(model, item) for item in _as_named(given)))


def _as_named(given: Sequence[PartLike] | PartLike) -> list[PartLike]:
    """What was given one by one, MLPs as numbers, without a look at the model."""
    single = isinstance(given, str | int) or (isinstance(given, tuple) and len(given) == 2 and _are_numbers(given))
    items: list[Any] = [given] if single else list(given)  # type: ignore[arg-type]
    if not items:
        raise InputError("no parts were given; name at least one head or MLP, for example '0.1' or 'm0'")
    return [int(mlp[1]) if isinstance(item, str) and (mlp := _MLP.match(item)) else item for item in items]


def _are_numbers(given: tuple[Any, ...]) -> bool:
    return all(isinstance(item, int) for item in given)


def _as_part(model: Any, item: PartLike) -> Part:
    if isinstance(item, int):
        if not 0 <= item < int(model.cfg.n_layers):
            raise InputError(f"layer {item} does not exist: the layers are 0 to {int(model.cfg.n_layers) - 1}")
        mlp_matrices(model, item)
        return item
    if isinstance(item, str) and not re.match(r"^a?\d+\.\d+$", item):
        raise InputError(f"{item!r} names no part; write '18.6' for head 6 of layer 18, or 'm5' for the MLP of layer 5")
    return as_heads(model, [item])[0]


def _check_kind(named: list[PartLike], matrix: str) -> None:
    """Refuse a matrix of heads where only MLPs are named, and one of MLPs where only heads are."""
    if matrix in MATRICES and not any((matrix in CIRCUITS) != isinstance(item, int) for item in named):
        told = ", ".join(part_name(item) if isinstance(item, int) else str(item) for item in named[:3])
        if matrix in CIRCUITS:
            raise InputError(f"{told}: an MLP has W_in, W_out and perhaps W_gate; {matrix} goes with a head, as '18.6'")
        raise InputError(f"{told}: a head has OV and QK; {matrix} goes with an MLP, as 'm5'")


def matrices_of(
    model: Any, parts: Sequence[PartLike] | PartLike, matrices: Sequence[str] | str | None = None, offset: int = 0
) -> list[WeightMatrix]:
    """The matrices of some parts, or only those named ("OV", "QK", "W_in", "W_gate", "W_out").

    Without names QK is left out where the model normalises queries and keys, since no matrix stands for its scores
    there; asked for, it is refused. Raises InputError for a name that none of the parts has.
    """
    wanted = None if matrices is None else [matrices] if isinstance(matrices, str) else list(matrices)
    named = _as_named(parts)
    for name in wanted or []:
        _check_kind(named, name)
    chosen = as_parts(model, parts)
    having = {part: _names(model, part) for part in chosen}
    for name in wanted or []:
        known = list(dict.fromkeys(name for names in having.values() for name in names))
        if name not in known and not (name == "QK" and normalises_queries(model)):
            raise unknown("matrix of these parts", name, known)
    found = []
    for part in chosen:
        names = having[part] if wanted is None else [name for name in MATRICES if name in wanted and _is_of(part, name)]
        found += [one_matrix(model, part, name, offset) for name in names]
    return found


def only_matrix(model: Any, part: PartLike, matrix: str, offset: int = 0) -> WeightMatrix:
    """The one that is meant. Raises InputError for several parts, and as `matrices_of` does."""
    chosen = matrices_of(model, part, matrix, offset)
    if len(chosen) != 1:
        raise InputError("give one head or MLP at a time")
    return chosen[0]


def _names(model: Any, part: Part) -> tuple[str, ...]:
    if isinstance(part, int):
        return mlp_matrices(model, part)
    return ("OV",) if normalises_queries(model) else CIRCUITS


def _is_of(part: Part, name: str) -> bool:
    return (name in CIRCUITS) != isinstance(part, int)


def one_matrix(model: Any, part: Part, name: str, offset: int = 0) -> WeightMatrix:
    """One matrix of one part, by its name."""
    if isinstance(part, int):
        return _of_mlp(model, part, name)
    layer, head = part
    weights, norm = folded_heads(model, layer), model.blocks[layer].ln1
    d_model, d_head = weights.W_V.shape[1:]

    def reading(generator: Generator) -> Tensor:
        return fold_norm(norm, torch.randn(d_model, d_head, generator=generator).to(weights.W_V))

    if name == "OV":
        after = getattr(model.blocks[layer], "ln1_post", None)

        def random_circuit(generator: Generator) -> Factored:
            drawn = torch.randn(d_head, d_model, generator=generator).to(weights.W_O)
            return Factored(reading(generator), fold_written(model, after, drawn))

        return WeightMatrix(part, name, Factored(weights.W_V[head], weights.W_O[head]), READS, WRITES, random_circuit)
    checked_offset(model, offset)
    # Gaussian queries and keys turned by a rotation are Gaussian again.
    return WeightMatrix(
        part,
        name,
        query_key(model, layer, weights, head, offset),
        QUERY,
        KEY,
        lambda generator: Factored(reading(generator), reading(generator).mT),
    )


def query_key(model: Any, layer: int, weights: HeadWeights, head: int, offset: int) -> Factored:
    """W_Q R(offset) W_Kᵀ of one head: rows are queries, columns keys."""
    return Factored(rotated(model, layer, weights.W_Q[head : head + 1], offset)[0], weights.W_K[head].mT)


def _of_mlp(model: Any, layer: int, name: str) -> WeightMatrix:
    weight, fold = folded_mlp(model, layer, name), fold_mlp(model, layer, name)
    rows, columns = (NEURONS, WRITES) if name == "W_out" else (READS, NEURONS)
    return WeightMatrix(
        layer,
        name,
        Factored(weight),
        rows,
        columns,
        lambda generator: Factored(fold(torch.randn(weight.shape, generator=generator).to(weight))),
    )
