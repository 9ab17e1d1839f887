"""Virtual weights: what one head does with what an earlier one writes, as a single matrix.

    q   W_OV1 W_Q2 R W_K2ᵀ        rows: what head 1 attends to, when it stands at the query; columns: keys
    k   W_OV1 W_K2 (W_Q2 R)ᵀ      rows: what head 1 attends to, when it stands at the key; columns: queries
    v   W_OV1 W_OV2               rows: what head 1 attends to; columns: what head 2 writes, a head of its own

The matrix exists nowhere in the model and yet acts on every prompt on which both heads attend as they do: in an
induction head k says which query looks for a token that followed which (Elhage et al. 2021, "A Mathematical Framework
for Transformer Circuits", "virtual weights" and "K-composition"). Its size is the composition score. The control keeps
both heads and turns what the first one writes at random, many times, so that only the fit between the two is lost: size
and words that match themselves are told by where they stand among the turns.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from interp.errors import InputError, unknown
from interp.heads.composition import KINDS
from interp.heads.matrices.factored import Factored
from interp.heads.matrices.parts import KEY, QUERY, READS, WRITES
from interp.heads.matrices.spectra import turned_at_random
from interp.heads.matrices.token_pairs import largest_pairs, like_with_like, n_sampled
from interp.heads.matrices.vocabulary import Vocabulary, both_ends
from interp.heads.matrices.word_tables import quoted, standing_plot, words_of_direction, words_values
from interp.heads.rotating import checked_offset, offset_words, rotated
from interp.heads.weights import folded_heads
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

COLUMNS = {"q": KEY, "k": QUERY, "v": WRITES}
MEASURES = {"score": "composition score", "own_token": "share of words that match themselves"}
"""What is held against random turns, and what it is called."""
LEVEL = 0.05
"""Chance of so high a rank among random turns at which something is more than by chance."""


class VirtualWeights(Result):
    """singular_value [line, direction] of the virtual weights and, in the mean, of the controls, 95 % of which are
    between singular_value_low and singular_value_high. score: their composition score; own_token: share of tokens that
    are the largest column of their own row; control_score, control_own_token [draw]: the same of every random turn.

    standing [end, word]: how far the words of the singular directions stand out. pair [pair]: the largest entries over
    the whole vocabulary, in standard deviations of all entries.
    """

    kind: ClassVar[str] = "virtual_weights"

    def words(self, n: int = 4) -> pd.DataFrame:
        """The words at both ends of the first singular directions."""
        sides: list[str] = self.settings["sides"]
        ends = self.values["standing"].axis("end").labels
        rows = [
            dict[str, Any](end=end) | words_of_direction(words, sides)
            for end, words in zip(ends, self.texts["words"])
            if int(str(end).split()[0]) < n
        ]
        return pd.DataFrame(rows)

    def pairs(self) -> pd.DataFrame:
        """The largest entries of the virtual weights between tokens, and the two tokens."""
        words = [[quoted(word) for word in pair] for pair in self.texts["pairs"]]
        frame = pd.DataFrame(words, columns=self.settings["sides"])
        frame["size (SD)"] = self.values["pair"].data.tolist()
        return frame

    def beside_turns(self) -> pd.DataFrame:
        """The composition score and the share of words that match themselves, beside those of the random turns."""
        rows = []
        for name, words in MEASURES.items():
            own, turned = float(self.values[name].data), self.values[f"control_{name}"].data
            row = {"of the virtual weights": words, "here": own, "turned: mean": float(turned.mean())}
            row |= {"least": float(turned.min()), "most": float(turned.max())}
            rows.append(row | {"turns below": f"{self._n_below(name)} of {len(turned)}"})
        return pd.DataFrame(rows)

    def _n_below(self, name: str) -> int:
        return int((self.values[f"control_{name}"].data < self.values[name].data).sum())

    def verdict(self) -> str:
        """One sentence: does the second head look for (write) what the first one attended to?

        strong: at least half of the words are the largest entry of their own row; weak: fewer, but more than with the
        first head turned at random; no: no more than that. More: so high a rank among the turns has a chance of at most
        5 %, which takes at least 19 turns; with fewer nothing is said.
        """
        own, turned = float(self.values["own_token"].data), self.values["control_own_token"].data
        n_words, n, n_below = int(self.settings["n_words"][0]), len(turned), self._n_below("own_token")
        strong = "strong" if own >= 0.5 else "weak"
        how = f"{strong if n - n_below + 1 <= LEVEL * (n + 1) else 'no'} like-with-like"
        if LEVEL * (n + 1) < 1:
            how = f"too few turns to tell ({round(1 / LEVEL) - 1} are needed)"
        return (
            f"{own:.1%} of {n_words:,} words are the largest entry of their own row. With the first head turned at "
            f"random {float(turned.mean()):.2%} in the mean, {float(turned.min()):.2%} to {float(turned.max()):.2%}, "
            f"and less than here in {n_below} of {n} turns: {how}."
        )


@torch.no_grad()
def virtual_weights(
    model: Any,
    source: HeadLike,
    destination: HeadLike,
    kind: str = "k",
    *,
    offset: int = 0,
    n: int = 5,
    top: int = 5,
    n_pairs: int = 12,
    n_random: int = 20,
    seed: int = 0,
) -> VirtualWeights:
    """The virtual weights from an earlier head to a query ("q"), key ("k") or value ("v") of a later one.

    offset: how many tokens before the query the key lies, on which q and k depend in a rotary model; 0 leaves the
    rotation out. n, top: singular directions, and words at each end. n_pairs: largest entries over all pairs of tokens
    (0 leaves them out: they take vocabulary² products). n_random: random turns for the control. Raises InputError for
    heads that do not exist or are in the wrong order, and for kinds and offsets that mean nothing.
    """
    started = datetime.now()
    if kind not in KINDS:
        raise unknown("kind of composition", kind, KINDS)
    first, second = as_heads(model, [source])[0], as_heads(model, [destination])[0]
    if first[0] >= second[0]:
        raise InputError(
            f"head {head_name(first)} writes nothing that {head_name(second)} reads: name an earlier layer"
        )
    if n_pairs < 0:
        raise InputError(f"n_pairs={n_pairs} is no number of pairs; use 0 for none")
    if n_random < 2:
        raise InputError(f"n_random={n_random} gives no control; use at least 2 random turns")
    stated = None if kind == "v" else checked_offset(model, offset)
    written, factors = _factors(model, first, second, kind, offset)
    actual = _joined(written, factors)
    if not 1 <= n <= len(written[1]):
        raise InputError(f"n={n} directions of a matrix with {len(written[1])}; choose from 1 to {len(written[1])}")
    vocabulary, generator = Vocabulary(model), torch.Generator().manual_seed(seed)
    turned = [_joined((written[0], turned_at_random(written[1].double(), generator)), factors) for _ in range(n_random)]
    norms = (Factored(*written).squared_norm() * Factored(*factors).squared_norm()) ** 0.5
    sides = [READS, COLUMNS[kind]]
    values, texts = _words(vocabulary, actual, sides, n, top)
    values = _sizes(actual, turned, norms) | values
    if n_pairs:
        values["pair"], texts["pairs"] = _pairs(vocabulary, actual, sides, n_pairs)
    rows, columns = vocabulary.rows(READS), vocabulary.rows(sides[1])
    values["own_token"] = Values(like_with_like(actual, rows, columns), (), "share of tokens")
    values["control_own_token"] = Values(
        torch.stack([like_with_like(one, rows, columns) for one in turned]),
        values["control_score"].axes,
        "share of tokens",
    )
    settings: dict[str, Any] = {"source": head_name(first), "destination": head_name(second), "kind": kind}
    settings |= {"offset": stated, "n_words": [n_sampled(len(rows)), len(rows)]}
    return VirtualWeights(
        values=values,
        settings=settings | {"n_random": n_random, "top": top, "norms": "folded", "sides": sides},
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=_plots(head_name(first), head_name(second), kind, stated, float(values["own_token"].data)),
        texts=texts,
    )


def _factors(
    model: Any, first: Head, second: Head, kind: str, offset: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(W_V1, W_O1), and what the second head does with what it reads as two factors: [d_model, d_head] and back."""
    early, late = folded_heads(model, first[0]), folded_heads(model, second[0])
    written = (early.W_V[first[1]], early.W_O[first[1]])
    if kind == "v":
        return written, (late.W_V[second[1]], late.W_O[second[1]])
    W_Q = rotated(model, second[0], late.W_Q[second[1]][None], offset)[0]
    W_K = late.W_K[second[1]]
    return written, (W_Q, W_K.mT) if kind == "q" else (W_K, W_Q.mT)


def _joined(written: tuple[Tensor, Tensor], factors: tuple[Tensor, Tensor]) -> Factored:
    """Both heads as one matrix, its inner dimension that of the first."""
    left, out = written[0].double(), written[1].double()
    return Factored(left, out @ factors[0].double() @ factors[1].double())


def _sizes(actual: Factored, turned: list[Factored], norms: float) -> dict[str, Values]:
    own = actual.singular().S
    drawn = torch.stack([one.singular().S for one in turned])
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=drawn.dtype), dim=0)
    axes = (Axis("line", ("actual", "turned at random")), Axis("direction", tuple(range(len(own)))))
    score = torch.tensor(actual.squared_norm() ** 0.5 / norms)
    controls = torch.tensor([one.squared_norm() ** 0.5 / norms for one in turned])
    words = "Frobenius norm over the product of both heads' norms"
    return {
        "singular_value": Values(torch.stack([own, drawn.mean(0)]).float(), axes),
        "singular_value_low": Values(torch.stack([own, low]).float(), axes, "", "2.5 % of the controls are below"),
        "singular_value_high": Values(torch.stack([own, high]).float(), axes, "", "2.5 % of the controls are above"),
        "score": Values(score, (), "", words),
        "control_score": Values(controls, (Axis("draw", tuple(range(len(turned)))),), "", words),
    }


def _words(
    vocabulary: Vocabulary, actual: Factored, sides: list[str], n: int, top: int
) -> tuple[dict[str, Values], dict[str, Any]]:
    found = actual.singular()
    read = {
        side: (vocabulary.read(side, vectors.mT[:n].float(), top), both_ends(n))
        for side, vectors in zip(sides, (found.U, found.V))
    }
    standing, words = words_values(vocabulary, [read])
    return {"standing": standing}, {"words": words}


def _pairs(vocabulary: Vocabulary, actual: Factored, sides: list[str], n_pairs: int) -> tuple[Values, list[list[str]]]:
    found = largest_pairs(actual, vocabulary.rows(sides[0]), vocabulary.rows(sides[1]), n_pairs)
    names = vocabulary.words(vocabulary.ids.cpu()[found.index])
    values = Values(found.size, (Axis("pair", tuple(range(len(names)))),), "SD of all entries")
    return values, names


def _plots(first: str, second: str, kind: str, offset: int | None, own_token: float) -> tuple[Plot, ...]:
    where = offset_words(offset, f"QK of {second}")
    what = {
        "q": f"Where {first} attended to what is on the left, {second} queries for keys on the right",
        "k": f"Where {first} attended to what is on the left, {second} is attended to by queries on the right",
        "v": f"Where {first} attended to what is on the left, {second} attending there writes what is on the right",
    }[kind]
    return (
        Plot(
            "lines",
            "singular_value",
            x="direction",
            series="line",
            title=f"Virtual weights from {first} to the {KINDS[kind]} of {second}",
            caption="Singular values, beside those of the same two heads with what the first one writes turned at "
            f"random: above, the second reads it more than it would read random directions.{where}",
            low="singular_value_low",
            high="singular_value_high",
            options={"y_label": "singular value", "x_label": "direction"},
        ),
        standing_plot(
            "standing",
            "words",
            title=f"Words of the virtual weights, {first} to {second}",
            caption=f"{what}; the two ends (+ and −) of each singular direction, largest first.{where}",
        ),
        Plot(
            "bars",
            "control_own_token",
            x="draw",
            title=f"Words that match themselves, {first} to {second}",
            caption="Share of words that are the largest entry of their own row: dashed, in the virtual weights; bars, "
            f"with what the first head writes turned at random, a bar a turn (no bar: no word at all).{where}",
            caveat="A word may match itself strongly and another one still more; that counts for nothing here.",
            options={"references": {"actual": own_token}, "y_label": "share of words", "x_label": "random turn"},
        ),
    )
