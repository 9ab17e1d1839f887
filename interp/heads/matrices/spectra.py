"""Eigenvalues of heads' OV and QK circuits, all of them: does a head copy (or match), and along how many directions?

Where an eigenvalue is positive a combination of tokens is mapped onto itself: attended to, it raises its own logits
(OV), or it attends to its like (QK); where negative onto its opposite; a pair off the real line turns one combination
into another. Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", section "Detecting copying
behavior". `eigenvalue_scores` sums each spectrum up; this shows it, and holds it against the same head with what it
writes (or its keys) turned at random: same singular values, same norms, no relation between what goes in and what comes
out.

A circuit M = A B, with A from tokens to the head's dimensions and B back, has as many eigenvalues as the head has
dimensions, those of B A, in vocabulary space as in the stream. What a constant adds to all logits, or to the scores of
all keys, changes no probability, so in vocabulary space the mean over words is removed, as `eigenvalue_scores` does;
with it one eigenvalue, that of the mean embedding, can outweigh all others (OV of head 18.6 of SmolLM2: 0.59 without
the mean, 0.28 with it).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Complex, Float
from torch import Generator, Tensor

from interp.errors import InputError, unknown
from interp.heads.matrices.factored import Factored
from interp.heads.matrices.parts import CIRCUITS, WeightMatrix, matrices_of, stated_offset
from interp.heads.rotating import offset_words
from interp.heads.weights import folded_unembedding
from interp.hooks.head_names import HeadLike, as_heads, head_name
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance

SPACES = ("vocabulary", "stream")
PARTS = Axis("part", ("real", "imaginary"))


class Spectra(Result):
    """eigenvalues [circuit, eigenvalue, part] of every circuit ("18.6 OV"), from large to small size; part: real,
    imaginary. score [circuit]: their sum over the sum of their sizes, -1 to 1. control [circuit, draw]: the score of
    the same circuit with one side turned at random. positive [circuit]: share of the sizes with a positive real part.
    turned [circuit, eigenvalue, part]: the spectrum of one such draw. The score of a circuit whose eigenvalues are all
    0, which writes nothing where it reads, is NaN.
    """

    kind: ClassVar[str] = "spectra"

    def summary(self) -> pd.DataFrame:
        """A row a circuit: its score, the range of the controls' scores, and the share of its largest eigenvalue."""
        control = self.values["control"].data
        sizes = self.values["eigenvalues"].data.norm(dim=-1)
        return pd.DataFrame(
            {
                "circuit": self.values["score"].axis("circuit").labels,
                "score": self.values["score"].data.tolist(),
                "turned, low": control.amin(1).tolist(),
                "turned, high": control.amax(1).tolist(),
                "positive": self.values["positive"].data.tolist(),
                "largest's share": (sizes[:, 0] / sizes.sum(1)).tolist(),
            }
        )

    def findings(self) -> list[str]:
        """A sentence on OV and one on QK: which circuits are above, below and within the range of the turned ones."""
        told = []
        rows = self.summary().to_dict("records")
        for circuit, above in (("OV", "copying"), ("QK", "matching like with like")):
            groups: dict[str, list[str]] = {}
            for row in rows:
                head, name = str(row["circuit"]).split()
                if name == circuit:
                    words = f"{head} ({row['score']:.2f})".replace("-", "−") if row["score"] == row["score"] else head
                    groups.setdefault(_beside(row, above, self.values["control"].data.shape[1]), []).append(words)
            if groups:
                told.append(f"{circuit}: " + "; ".join(f"{what}: {', '.join(of)}" for what, of in groups.items()) + ".")
        return told


def _beside(row: dict[Hashable, Any], above: str, n: int) -> str:
    """What a score says beside those of the n turned circuits."""
    if row["score"] != row["score"]:
        return "no score, since all eigenvalues are 0 (it writes nothing into the directions that it reads)"
    if row["score"] > row["turned, high"]:
        return f"{above}, above all {n} turned circuits"
    return "the opposite, below them" if row["score"] < row["turned, low"] else "no different from the turned circuits"


@torch.no_grad()
def decompose(
    model: Any,
    heads: Sequence[HeadLike] | HeadLike,
    circuits: Sequence[str] | str | None = None,
    *,
    space: str = "vocabulary",
    offset: int = 0,
    n_random: int = 20,
    seed: int = 0,
) -> Spectra:
    """The whole spectrum of the OV and QK circuits of some heads, beside that of the same circuits turned at random.

    space: "vocabulary", from token embeddings to logits (OV) or back to embeddings (QK), mean over words removed;
    "stream", W_V W_O and W_Q W_Kᵀ alone. offset: how many tokens before the query the key lies, which QK depends on in
    a rotary model; 0 leaves the rotation out. n_random: random turns for the control. Raises InputError for heads,
    circuits and offsets that the model does not have.
    """
    started = datetime.now()
    if space not in SPACES:
        raise unknown("space", space, SPACES)
    if n_random < 2:
        raise InputError(f"n_random={n_random} gives no control; use at least 2 random turns")
    named = [head_name(head) for head in as_heads(model, heads)]
    for name in [circuits] if isinstance(circuits, str) else circuits or ():
        if name not in CIRCUITS:
            raise unknown("circuit", name, CIRCUITS)
    chosen = matrices_of(model, named, circuits, offset)
    stated = stated_offset(model, chosen, offset)
    generator = torch.Generator().manual_seed(seed)
    between = {name: _between(model, name, space) for name in {matrix.matrix for matrix in chosen}}
    spectra, turned, controls = [], [], []
    for matrix in progress(chosen, "eigenvalues"):
        closed = _closed(matrix, between[matrix.matrix])
        spectra.append(closed.eigenvalues())
        drawn = [_closed(matrix, between[matrix.matrix], generator).eigenvalues() for _ in range(n_random)]
        turned.append(drawn[0])
        controls.append(torch.stack([_score(one) for one in drawn]))
    names = tuple(matrix.name for matrix in chosen)
    settings = {"space": space, "offset": stated, "n_random": n_random, "norms": "folded"}
    return Spectra(
        values=_values(names, torch.stack(spectra), torch.stack(turned), torch.stack(controls)),
        settings=settings,
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=(_plot(names, space, stated),),
    )


def _between(model: Any, circuit: str, space: str) -> Float[Tensor, "d_model d_model"] | None:
    """What lies between what a circuit gives and what it takes: [out, in] of the stream; None for nothing."""
    if space == "stream":
        return None
    W_E = model.W_E.detach().float()
    W_E = W_E - W_E.mean(0)
    return ((folded_unembedding(model) if circuit == "OV" else W_E.T) @ W_E).double()


def _closed(matrix: WeightMatrix, between: Tensor | None, turn: Generator | None = None) -> Factored:
    """The circuit with its output led back to its input, turned at random in between where there is a generator."""
    left, right = matrix.factored.left.double(), matrix.factored.right
    assert right is not None
    back = right.double()
    if turn is not None:
        back = turned_at_random(back, turn)
    return Factored(left, back if between is None else back @ between)


def turned_at_random(written: Float[Tensor, "inner d_model"], generator: Generator) -> Float[Tensor, "inner d_model"]:
    """The same rows in random directions: lengths and angles between them as they were.

    As good as a random rotation of the whole stream, of which only the images of `inner` directions matter.
    """
    Q, R = torch.linalg.qr(written.mT)
    drawn = torch.linalg.qr(torch.randn(Q.shape, generator=generator, dtype=torch.float64).to(Q))
    # With the signs that the decomposition leaves, some directions are likelier than others (Mezzadri 2007).
    return (drawn.Q * drawn.R.diagonal().sign() @ R).mT


def _score(eigenvalues: Complex[Tensor, " inner"]) -> Tensor:
    return eigenvalues.sum().real / eigenvalues.abs().sum()


def _values(
    names: tuple[str, ...], spectra: Complex[Tensor, "circuit inner"], turned: Tensor, controls: Tensor
) -> dict[str, Values]:
    circuit, inner = Axis("circuit", names), Axis("eigenvalue", tuple(range(spectra.shape[1])))
    sizes, real = spectra.abs(), spectra.real
    score = real.sum(1) / sizes.sum(1)
    return {
        "score": Values(score.float(), (circuit,), "", "sum of eigenvalues over sum of sizes"),
        "eigenvalues": Values(torch.view_as_real(spectra).float(), (circuit, inner, PARTS), "eigenvalue"),
        "turned": Values(torch.view_as_real(turned).float(), (circuit, inner, PARTS), "eigenvalue", "turned at random"),
        "control": Values(
            controls.float(), (circuit, Axis("draw", tuple(range(controls.shape[1])))), "", "score, turned at random"
        ),
        "positive": Values((sizes * (real > 0)).sum(1).div(sizes.sum(1)).float(), (circuit,), "", "share of the sizes"),
    }


def _plot(names: tuple[str, ...], space: str, offset: int | None) -> Plot:
    where = offset_words(offset)
    path = {
        "vocabulary": "from token embeddings to logits (OV) or embeddings (QK), mean over words removed",
        "stream": "from stream to stream",
    }[space]
    return Plot(
        "complex_plane",
        "eigenvalues",
        x="part",
        series="circuit",
        title=f"Eigenvalues of {names[0]}" if len(names) == 1 else "Eigenvalues",
        caption=f"Every eigenvalue of each circuit, {path}: right of the middle, what goes in comes out (copying, "
        "matching); left, its opposite. The radius is the square root of the size over the largest; rings at 1, 1/4 "
        f"and 1/16. Grey: the same circuit with what it gives turned at random.{where}",
        caveat="The direct path only: what other layers do before and after is left out.",
        options={"behind": "turned"},
    )
