"""Weights shown directly: a Hinton diagram of a matrix between words, or of its rows and columns with the most weight.

Between words, OV is how much attending to the one raises the logit of the other, QK how much a query of the one likes a
key of the other, both on the direct path and less the mean over the vocabulary. In the model's own basis only a corner
can be shown; rows and columns are chosen by their norm, and the share of the squared norm that is left is stated. The
basis of the stream is not arbitrary where norms have gains and optimisers work per weight, but a head's inner basis is:
that is why OV and QK are shown whole and not as W_V and W_O.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.heads.matrices.parts import CIRCUITS, NEURONS, PartLike, WeightMatrix, only_matrix, stated_offset
from interp.heads.matrices.vocabulary import Vocabulary
from interp.heads.rotating import offset_words
from interp.models import identity
from interp.models.tokens import single_token, to_strings
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

MAX_SIDE = 80
"""Rows or columns of a diagram."""


class HintonDiagram(Result):
    """weights [row, column]: between words, or the rows and columns with the most weight. share: of the squared norm of
    the whole matrix that is shown (1 between words, where the matrix is that of the words).
    """

    kind: ClassVar[str] = "hinton_diagram"

    def finding(self) -> str:
        """One sentence: how many words are the largest of their row, or how much of the whole matrix is shown."""
        shown = self.values["weights"]
        data = shown.data
        if self.settings["words"]:
            own = int((data.argmax(1) == torch.arange(len(data))).sum())
            row, column = divmod(int(data.abs().argmax()), data.shape[1])
            pair = f"{shown.axes[0].labels[row]!r} to {shown.axes[1].labels[column]!r}, {float(data[row, column]):.3g}"
            return (
                f"The word itself is the largest entry of its row for {own} of {len(data)} words (1 would be by "
                f"chance); the largest weight of all is from {pair.replace('-', '−')}."
            )
        rows, columns = self.settings["shape"]
        return (
            f"The {data.shape[0]} rows and {data.shape[1]} columns with the most weight hold "
            f"{float(self.values['share'].data):.1%} of the squared norm of the whole matrix; as many of average size "
            f"would hold {data.numel() / (rows * columns):.1%}."
        )


@torch.no_grad()
def hinton(
    model: Any,
    part: PartLike,
    matrix: str,
    *,
    words: Sequence[str | int] | None = None,
    n: int = 24,
    offset: int = 0,
) -> HintonDiagram:
    """One matrix of a head or MLP ("OV", "QK", "W_in", "W_gate", "W_out") as squares.

    words: tokens (" red", with its space, or ids) between which OV or QK is shown; without them the n rows and n
    columns with the largest norms in the model's own basis. offset: how many tokens before the query the key lies,
    which QK depends on in a rotary model. Raises InputError for parts and matrices that the model does not have, words
    that are no single token, and diagrams of more than 80 rows.
    """
    started = datetime.now()
    chosen = only_matrix(model, part, matrix, offset)
    stated = stated_offset(model, [chosen], offset)
    size = n if words is None else len(words)
    if not 1 <= size <= MAX_SIDE:
        raise InputError(f"a diagram of {size} rows cannot be looked at; choose from 1 to {MAX_SIDE}")
    weights, share = _between(model, chosen, words) if words else _corner(chosen, n)
    where = offset_words(stated)
    return HintonDiagram(
        values={"weights": weights, "share": Values(torch.tensor(share), (), "of the squared norm")},
        settings={
            "matrix": chosen.name,
            "shape": list(chosen.factored.shape),
            "words": list(words or ()),
            "n": n,
            "offset": stated,
            "norms": "folded",
        },
        provenance=provenance(model=identity(model), started=started),
        plots=(
            Plot(
                "hinton",
                "weights",
                x=weights.dims[1],
                y=weights.dims[0],
                title=f"{chosen.name}, weight by weight",
                caption=(_said(chosen) if words else _chosen(share, n)) + where,
                caveat="Read with the embedding and the unembedding; what layers in between do is left out."
                if words
                else "",
            ),
        ),
    )


def _between(model: Any, matrix: WeightMatrix, words: Sequence[str | int]) -> tuple[Values, float]:
    """The matrix between words, mean over the vocabulary taken out on both sides."""
    if matrix.matrix not in CIRCUITS:
        raise InputError(f"{matrix.name} has neurons on one side; words go with OV and QK of a head")
    ids = torch.tensor([_token(model, word) for word in words])
    vocabulary = Vocabulary(model)
    left, right = (_rows(vocabulary, side, ids) for side in (matrix.rows, matrix.columns))
    names = tuple(to_strings(model, ids))
    axes = (Axis(matrix.rows, names), Axis(matrix.columns, names))
    assert matrix.factored.right is not None
    return Values((left @ matrix.factored.left) @ (matrix.factored.right @ right.mT), axes, "weight"), 1.0


def _rows(vocabulary: Vocabulary, side: str, ids: Int[Tensor, " word"]) -> Float[Tensor, "word d_model"]:
    places = {int(token): i for i, token in enumerate(vocabulary.ids.tolist())}
    return vocabulary.rows(side)[[places[int(token)] for token in ids]]


def _token(model: Any, word: str | int) -> int:
    """The id of a word. Raises InputError for what is no single ordinary token."""
    if isinstance(word, int) or model.tokenizer is None:
        if not str(word).isdigit() or int(word) >= int(model.cfg.d_vocab):
            raise InputError(f"{word!r} is no token id below {int(model.cfg.d_vocab)}")
        return int(word)
    found = single_token(model, word)
    if found is None or found in model.tokenizer.all_special_ids:
        raise InputError(f"{word!r} is no single token of this model; in many vocabularies words begin with a space")
    return found


def _corner(matrix: WeightMatrix, n: int) -> tuple[Values, float]:
    """The n rows and columns with the largest norms, in their order, and their share of the squared norm."""
    whole = matrix.factored.whole
    rows, columns = (whole.pow(2).sum(dim).topk(min(n, whole.shape[1 - dim])).indices.sort().values for dim in (1, 0))
    shown = whole[rows][:, columns]
    names = ["neuron" if side == NEURONS else f"{side} dimension" for side in (matrix.rows, matrix.columns)]
    axes = (Axis(names[0], tuple(rows.tolist())), Axis(names[1], tuple(columns.tolist())))
    return Values(shown, axes, "weight"), float(shown.pow(2).sum() / whole.pow(2).sum().clamp(min=1e-30))


def _said(matrix: WeightMatrix) -> str:
    return {
        "OV": "How much the head, attending to the word of a row, raises (blue) or lowers the logit of each column's.",
        "QK": "How much a query of the word of a row attends to a key of each column's (blue), or does not.",
    }[matrix.matrix] + " Mean over words removed on both sides."


def _chosen(share: float, n: int) -> str:
    return f"The {n} rows and {n} columns with the most weight, {share:.0%} of the squared norm of the whole matrix."
