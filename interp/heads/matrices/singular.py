"""Singular directions of heads and MLPs, read as words, beside those of random matrices.

The circuit W = Σ_i s_i u_i v_iᵀ turns what it finds along u_i into s_i times v_i. For OV, u is read and v written; for
QK, u is a query and v the key it likes; W_in and W_gate read along u, W_out writes along v (the other sides are
neurons). Millidge & Black 2022, "The Singular Value Decompositions of Transformer Weight Matrices are Highly
Interpretable". Their lists of words convince by being read; here the same is done to matrices of Gaussian numbers with
the same shape and norms, and a direction counts as far as its words stand out more than theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from interp.errors import InputError
from interp.heads.matrices.parts import NEURONS, PartLike, WeightMatrix, layer_of, matrices_of, stated_offset
from interp.heads.matrices.vocabulary import POLES, DirectionsRead, Vocabulary, both_ends
from interp.heads.matrices.word_tables import words_of_direction, words_plot, words_values
from interp.heads.rotating import offset_words
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance

WORDS_A_SHOWN_ONE = 20
"""So many words there are to be for each that is shown, so that those shown are extremes."""
MAX_ROWS = 36
"""Sides up to which each has a row of its own in a figure."""


class SingularDirections(Result):
    """above_chance, concentration, coherence [side, direction] of the sides ("18.6 OV writes") of all matrices.

    concentration: how far the first words of a direction stand out of the vocabulary, in standard deviations, at the
    better of its ends. control, control_high [side]: its mean and 95th percentile over directions of random matrices;
    above_chance: concentration less that mean, over their standard deviation; best [side]: the largest of each side.
    coherence: mean cosine between those words without the direction; control_coherence [side]. singular_value, share
    [matrix, direction]: and its share of the squared norm. Under the name of each matrix: standing [end, word] of its
    words, which `words` writes out.
    """

    kind: ClassVar[str] = "singular_directions"

    def words(self, matrix: str, n: int | None = None) -> pd.DataFrame:
        """The words at both ends of the n first directions of a matrix, as "18.6 OV": a row an end."""
        tokens = self.texts[matrix]
        ends = self.values[matrix].axis("end").labels
        shares = self.values["share"].sel(matrix=matrix).data
        sides = self.settings["sides"][matrix]
        rows: list[dict[str, Any]] = []
        for end, words in zip(ends, tokens):
            direction = str(end).split()[0]
            if direction.isdigit() and (n is None or int(direction) < n):
                told: dict[str, Any] = {"end": end, "share": float(shares[int(direction)])}
                rows.append(told | words_of_direction(words, sides))
        return pd.DataFrame(rows)

    def standing_out(self) -> pd.DataFrame:
        """How many directions stand out more than 95 % of those of random matrices: a row for each kind of side.

        By chance it is 5 %, unless the matrices were chosen for it.
        """
        passed = self.values["concentration"].data > self.values["control_high"].data[:, None]
        kinds = [str(label).split()[-1] for label in self.values["best"].axis("side").labels]
        rows = []
        for kind in dict.fromkeys(kinds):
            own = passed[[i for i, one in enumerate(kinds) if one == kind]]
            rows.append({"side": kind, "directions": own.numel(), "stand out": int(own.sum())})
        frame = pd.DataFrame(rows)
        return frame.assign(share=frame["stand out"] / frame["directions"])

    def few_words(self) -> str:
        """A sentence where the vocabulary is too small for words to stand out by the mean of several; else nothing."""
        n_words, top = self.settings.get("n_words"), self.settings["top"]
        if n_words is None or top == 1 or n_words >= WORDS_A_SHOWN_ONE * top:
            return ""
        return (
            f"With {n_words} words in all, the mean of {top} cannot tell a direction of one word from chance: here "
            "standing out says nothing, nor does its absence; use one word each (top=1, --words 1) or the spectra."
        )


@dataclass(frozen=True, eq=False)
class _Chance:
    """What random matrices give on one side: one number a direction, and the words of the first matrix's."""

    concentration: Tensor
    coherence: Tensor
    example: DirectionsRead


@torch.no_grad()
def singular_directions(
    model: Any,
    parts: Sequence[PartLike] | PartLike,
    matrices: Sequence[str] | str | None = None,
    *,
    n: int = 6,
    top: int = 5,
    offset: int = 0,
    n_random: int = 20,
    n_drawn: int = 6,
    seed: int = 0,
) -> SingularDirections:
    """The n largest singular directions of heads ("18.6") and MLPs ("m5"), as the `top` words at each of their ends.

    matrices: only these of "OV", "QK", "W_in", "W_gate", "W_out" (default: all that a part has). offset: how many
    tokens before the query the key lies, on which QK depends in a rotary model; 0 leaves the rotation out. n_random:
    random matrices that say what is readable by chance. n_drawn: matrices whose words are drawn, those that stand out
    most; `words` has them for all. Raises InputError for parts, matrices and offsets that the model does not have.
    """
    started = datetime.now()
    chosen = matrices_of(model, parts, matrices, offset)
    stated = stated_offset(model, chosen, offset)
    if n_random < 2:
        raise InputError(f"n_random={n_random} says nothing about chance; use at least 2 random matrices")
    smallest = min(min(matrix.factored.left.shape) for matrix in chosen)
    if not 1 <= n <= smallest:
        raise InputError(f"n={n} directions of a matrix with {smallest}; choose from 1 to {smallest}")
    vocabulary, generator = Vocabulary(model), torch.Generator().manual_seed(seed)
    by_chance: dict[tuple[int, str], dict[str, _Chance]] = {}
    read = []
    for matrix in progress(chosen, "singular directions"):
        # The heads of a layer have one shape and one norm, and so one kind of random matrix.
        kind = (layer_of(matrix.part), matrix.matrix)
        if kind not in by_chance:
            by_chance[kind] = _by_chance(vocabulary, matrix, n, top, n_random, generator)
        read.append(_read(vocabulary, matrix, n, top, by_chance[kind]))
    settings = {"n": n, "top": top, "n_words": len(vocabulary.ids), "offset": stated, "n_random": n_random}
    return _result(
        vocabulary, chosen, read, settings, n_drawn,
        provenance(model=identity(model), seed=seed, started=started),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Read:
    """One matrix: its singular values, all of their squares together, and by side the words and those of chance."""

    values: Tensor
    squared_norm: float
    sides: dict[str, tuple[DirectionsRead, _Chance]]


def _read(vocabulary: Vocabulary, matrix: WeightMatrix, n: int, top: int, by_chance: dict[str, _Chance]) -> _Read:
    found = matrix.factored.singular()
    sides = {
        side: vocabulary.read(side, vectors.mT[:n].float(), top)
        for side, vectors in ((matrix.rows, found.U), (matrix.columns, found.V))
        if side != NEURONS
    }
    # (u, v) is as good as (-u, -v): of what is written, or read where nothing is, the words at + are to stand out more.
    ends = sides[matrix.sides[-1]].concentration
    against = ends[:, 0] < ends[:, 1]
    told = {side: (read.turned(against), by_chance[side]) for side, read in sides.items()}
    return _Read(found.S, float(found.S.pow(2).sum()), told)


def _by_chance(
    vocabulary: Vocabulary, matrix: WeightMatrix, n: int, top: int, n_random: int, generator: Generator
) -> dict[str, _Chance]:
    """The n largest singular directions of each of n_random random matrices, by side."""
    twins = [matrix.random(generator) for _ in range(n_random)]
    found = {}
    for side in matrix.sides:
        drawn = torch.cat([twin.leading(side == matrix.rows, n) for twin in twins])
        read = vocabulary.read(side, drawn.float(), top)
        found[side] = _Chance(*_of_ends(read), read.rows(slice(2)))
    return found


def _of_ends(read: DirectionsRead) -> tuple[Float[Tensor, " direction"], Float[Tensor, " direction"]]:
    """Concentration of the end whose words stand out more, and the coherence of that end."""
    best = read.concentration.argmax(1, keepdim=True)
    return read.concentration.gather(1, best)[:, 0], read.coherence.gather(1, best)[:, 0]


def _result(
    vocabulary: Vocabulary,
    matrices: list[WeightMatrix],
    read: list[_Read],
    settings: dict[str, Any],
    n_drawn: int,
    source: Any,
) -> SingularDirections:
    n = settings["n"]
    names = tuple(matrix.name for matrix in matrices)
    sides = tuple(f"{matrix.name} {side}" for matrix, one in zip(matrices, read) for side in one.sides)
    pairs = [pair for one in read for pair in one.sides.values()]
    ours = [_of_ends(words) for words, _ in pairs]
    axes = (Axis("side", sides), Axis("direction", tuple(range(n))))
    by_chance = torch.stack([chance.concentration for _, chance in pairs])
    concentration = torch.stack([own for own, _ in ours])
    mean, sd = by_chance.mean(1), by_chance.std(1)
    by_matrix = (Axis("matrix", names), Axis("direction", tuple(range(n))))
    values = {
        "above_chance": Values((concentration - mean[:, None]) / sd[:, None], axes, "SD of random directions"),
        "concentration": Values(concentration, axes, "SD over the vocabulary"),
        "coherence": Values(torch.stack([own for _, own in ours]), axes, "mean cosine"),
        "control": Values(mean, axes[:1], "SD over the vocabulary", "mean over directions of random matrices"),
        "control_high": Values(by_chance.quantile(0.95, dim=1), axes[:1], "SD over the vocabulary", "95 % are below"),
        "control_coherence": Values(torch.stack([chance.coherence.mean() for _, chance in pairs]), axes[:1]),
        "singular_value": Values(torch.stack([one.values[:n].float() for one in read]), by_matrix),
        "share": Values(
            torch.stack([(one.values[:n].pow(2) / one.squared_norm).float() for one in read]), by_matrix, "",
            "of the squared Frobenius norm",
        ),
    }  # fmt: skip
    texts = {}
    for matrix, one in zip(matrices, read):
        ends = both_ends(n)
        control = {f"random {pole}": (0, k) for k, pole in enumerate(POLES)}
        words = {side: (own, ends) for side, (own, _) in one.sides.items()}
        chance = {side: (drawn.example, control) for side, (_, drawn) in one.sides.items()}
        values[matrix.name], texts[matrix.name] = words_values(vocabulary, [words, chance])
    above = values["above_chance"].data
    values["best"] = Values(above.amax(1), axes[:1], "SD of random directions")
    told = _most_readable(matrices, dict(zip(sides, above.amax(1).tolist())), n_drawn)
    where = offset_words(settings["offset"])
    plots = [(_overview if len(sides) <= MAX_ROWS else _ranking)(settings["n_random"], where)]
    plots += [words_plot(matrix, settings["offset"]) for matrix in told]
    settings = settings | {"norms": "folded", "sides": {m.name: list(m.sides) for m in matrices}}
    return SingularDirections(values=values, settings=settings, provenance=source, plots=tuple(plots), texts=texts)


def _most_readable(matrices: list[WeightMatrix], best: dict[str, float], n_drawn: int) -> list[WeightMatrix]:
    """Those whose words are drawn, in the order they were asked for."""
    order = sorted(matrices, key=lambda matrix: -max(best[f"{matrix.name} {side}"] for side in matrix.sides))
    return [matrix for matrix in matrices if matrix in order[:n_drawn]]


def _overview(n_random: int, where: str) -> Plot:
    return Plot(
        "heatmap",
        "above_chance",
        x="direction",
        y="side",
        title="Singular directions whose words stand out",
        caption="How far the words at the ends of each singular direction stand out of the vocabulary, above what "
        f"directions of {n_random} random matrices give, in their standard deviations; within 2 is chance.{where}",
        caveat="Words that stand out need have nothing in common, and a direction may matter without a word for it.",
        options={"zero_centred": True, "colour_label": "above random (SD)", "colour_limit": 8},
    )


def _ranking(n_random: int, where: str) -> Plot:
    return Plot(
        "bars",
        "best",
        x="side",
        title="Matrices whose words stand out most",
        caption="How far the words of the best singular direction of each side of a matrix stand out of the "
        f"vocabulary, above what directions of {n_random} random matrices give, in their standard deviations.{where}",
        caveat="The best of several directions: by chance alone it is about 1 to 2.",
        options={"n_most": 20, "y_label": "above random (SD)"},
    )
