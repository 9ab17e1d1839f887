"""Which heads compose, as a graph: edges into queries, keys and values that stand two tests.

Composition scores (Elhage et al. 2021) of a trained model are nearly all above those of random matrices, since all
heads read and write in much the same few directions of the stream. An edge here has to be

    significant    above what the same two heads would score were the stream between them rotated at random (the
                   singular values of both kept; `rotation_null`), and
    specific       above what this source does with other destinations and this destination with other sources: the
                   log score less a median of its row and of its column, in robust standard deviations,

each at a level that is divided by the number of pairs (Bonferroni). The second test is the sharper one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.heads.composition import KINDS, pair_norms, reading_side, writing_side
from interp.heads.matrices.rotation_null import beyond_both, concentration, moments, upper_tail
from interp.heads.rotating import checked_offset, offset_words
from interp.heads.weights import folded_heads
from interp.hooks.head_names import all_heads, head_name
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance


class CompositionGraph(Result):
    """above [edge] of the edges "a16.0->a18.6.k" that are significant and specific: score less the root mean square of
    random rotations; score, over_rotations, over_both_heads [edge].

    For all pairs: pair_score, pair_over_rotations (standard deviations of the squared score), pair_over_both_heads
    (robust standard deviations) [kind, source, destination], NaN unless the source is in an earlier layer.
    n_significant, n_specific [kind]: how many pass each test, n_pairs: of how many.
    """

    kind: ClassVar[str] = "composition_graph"

    def edges(self, n: int = 10) -> pd.DataFrame:
        """The n edges furthest above random rotations: writer, reader and what the tests say."""
        labels = [str(label).split("->") for label in self.values["above"].axis("edge").labels]
        frame = pd.DataFrame(labels, columns=["writer", "reader"])
        for name in ("score", "above", "over_rotations", "over_both_heads"):
            frame[name.replace("_", " ")] = self.values[name].data.tolist()
        return frame.head(n)

    def counts(self) -> pd.DataFrame:
        """How many pairs pass each test, and how many compose: by both tests, or the first where it stands alone."""
        kinds = self.values["n_significant"].axis("kind").labels
        columns = {"significant": "significant", "specific": "specific", "compose": "both"}
        numbers = {name: self.values[f"n_{kept}"].data.tolist() for name, kept in columns.items()}
        frame = pd.DataFrame({"kind": kinds, "pairs": int(self.values["n_pairs"].data)} | numbers)
        if left_out := self.untested():
            frame["specific"] = frame["specific"].astype(object).mask(frame["kind"].isin(left_out), float("nan"))
        return frame

    def untested(self) -> list[str]:
        """Kinds for which the second test cannot be made, since most pairs of heads leave no spread; NaN in tables.

        There the first test decides alone.
        """
        over = self.values["pair_over_both_heads"]
        return [str(kind) for kind, pairs in zip(over.axis("kind").labels, over.data) if bool(pairs.isnan().all())]

    def tests(self) -> str:
        """By what pairs are said to compose, as the end of a sentence."""
        left_out, kinds = self.untested(), self.values["n_significant"].axis("kind").labels
        return _tests_words(len(left_out), len(kinds))


@torch.no_grad()
def composition_graph(
    model: Any,
    kinds: Sequence[str] | str = ("q", "k", "v"),
    *,
    offset: int = 0,
    level: float = 0.05,
    max_edges: int = 60,
) -> CompositionGraph:
    """The graph of heads that compose, norms folded.

    kinds: into queries, keys, values. offset: how many tokens before the query the key lies, on which q and k depend
    in a rotary model; 0 leaves the rotation out. level: of both tests, over all pairs of all kinds. max_edges: how many
    are drawn and listed, furthest above random rotations first. Raises InputError for kinds and offsets that mean
    nothing, and for models of one layer.
    """
    started = datetime.now()
    chosen = tuple(dict.fromkeys([kinds] if isinstance(kinds, str) else kinds))
    for kind in chosen:
        if kind not in KINDS:
            raise unknown("kind of composition", kind, KINDS)
    if int(model.cfg.n_layers) < 2 or not chosen:
        raise InputError("heads compose across layers; this needs a model of at least two, and a kind of q, k and v")
    if max_edges < 1:
        raise InputError(f"max_edges={max_edges} leaves nothing to show; use at least 1")
    if not 0 < level < 1:
        raise InputError(f"level={level} is no probability of a false edge; choose one between 0 and 1")
    stated = checked_offset(model, offset) if set(chosen) & {"q", "k"} else None
    squared, over, tail = (torch.stack(part) for part in zip(*_all_pairs(model, chosen, offset)))
    specific = torch.stack([beyond_both(one.clamp(min=1e-30).log()) for one in squared])
    n_pairs = int((~squared.isnan()).sum())
    significant = tail < level / n_pairs
    beyond = specific > -float(torch.special.ndtri(torch.tensor(level / n_pairs, dtype=torch.float64)))
    heads = tuple(head_name(head) for head in all_heads(model))
    axes = (Axis("kind", chosen), Axis("source", heads), Axis("destination", heads))
    untested = specific.isnan().all(2).all(1)[:, None, None]  # kinds that the first test decides alone
    counted = {"significant": significant, "specific": beyond, "both": significant & (beyond | untested)}
    values = _edges(squared, over, specific, counted["both"], axes, _n_dims(model), max_edges)
    values |= {
        "pair_score": Values(squared.sqrt().float(), axes, "", "composition score"),
        "pair_over_rotations": Values(over.float(), axes, "SD of random rotations"),
        "pair_over_both_heads": Values(specific.float(), axes, "robust SD"),
        "n_pairs": Values(torch.tensor(n_pairs // len(chosen)), (), "pairs of each kind"),
    }
    values |= {f"n_{name}": Values(passed.sum((1, 2)), axes[:1], "pairs") for name, passed in counted.items()}
    return CompositionGraph(
        values=values,
        settings={"kinds": list(chosen), "offset": stated, "level": level, "max_edges": max_edges, "norms": "folded"},
        provenance=provenance(model=identity(model), started=started),
        plots=(_plot(chosen, stated, level, int(counted["both"].sum()), max_edges, int(untested.sum())),),
    )


def _all_pairs(model: Any, kinds: tuple[str, ...], offset: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """By kind the squared scores [source, destination], how far they are above random rotations, and how likely."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    n_dims = _n_dims(model)
    layers = [folded_heads(model, layer) for layer in range(n_layers)]
    writers = [writing_side(weights) for weights in layers]
    widths = torch.cat([concentration(one) for one in writers]).cpu()
    found = []
    for kind in progress(kinds, "composition of all pairs of heads"):
        squared = torch.full((n_layers * n_heads, n_layers * n_heads), torch.nan, dtype=torch.float64)
        read_widths = torch.ones(n_layers * n_heads, dtype=torch.float64)
        for later in range(1, n_layers):
            reader = reading_side(model, layers[later], kind, later, offset)
            to = slice(later * n_heads, (later + 1) * n_heads)
            read_widths[to] = concentration(reader, of_rows=False).cpu()
            squared[: later * n_heads, to] = pair_norms(torch.cat(writers[:later]), reader).double().pow(2).cpu()
        mean, variance = moments(widths, read_widths, n_dims)
        over = (squared - mean) / variance.clamp(min=1e-30).sqrt()
        found.append((squared, over, upper_tail(squared, mean, variance)))
    return found


def _n_dims(model: Any) -> int:
    """Dimensions of the stream in which heads write and read: one less where every norm takes the mean out."""
    weights = folded_heads(model, 0)
    centred = max(float(weights.W_V.mean(1).abs().max()), float(weights.W_O.mean(-1).abs().max()))
    return int(model.cfg.d_model) - int(centred < 1e-6 * float(weights.W_V.abs().max()))


def _edges(
    squared: Float[Tensor, "kind source destination"],
    over: Float[Tensor, "kind source destination"],
    specific: Float[Tensor, "kind source destination"],
    passed: Tensor,
    axes: tuple[Axis, Axis, Axis],
    n_dims: int,
    max_edges: int,
) -> dict[str, Values]:
    above = squared.sqrt() - n_dims**-0.5
    places = passed.nonzero()
    best = above[passed].argsort(descending=True, stable=True)[:max_edges]
    chosen = tuple(places[best].T)
    kinds, sources, destinations = (axis.labels for axis in axes)
    names = tuple(f"a{sources[i]}->a{destinations[j]}.{kinds[k]}" for k, i, j in places[best].tolist())
    edge = (Axis("edge", names),)
    return {
        "above": Values(above[chosen].float(), edge, "score above random rotations"),
        "score": Values(squared.sqrt()[chosen].float(), edge, "composition score"),
        "over_rotations": Values(over[chosen].float(), edge, "SD of random rotations"),
        "over_both_heads": Values(specific[chosen].float(), edge, "robust SD"),
    }


def _tests_words(n_untested: int, n_kinds: int) -> str:
    """n_untested: kinds for which the second test cannot be made."""
    if not n_untested:
        return "both tests"
    return "the first test" if n_untested == n_kinds else "both tests, or the first where it alone can be made"


def _plot(kinds: tuple[str, ...], offset: int | None, level: float, n: int, max_edges: int, n_untested: int) -> Plot:
    where = offset_words(offset, "Queries and keys")
    passed = f"{n} pair{'s' * (n != 1)} that pass{'es' * (n == 1)} {_tests_words(n_untested, len(kinds))}"
    drawn = passed if n <= max_edges else f"the {max_edges} strongest of {passed}"
    if n_untested:
        where += " Heads of this model leave no spread for the second test: the first decides alone."
    words = ", ".join(f"{KINDS[kind]} ({kind})" for kind in kinds)
    return Plot(
        "graph",
        "above",
        title="Heads that compose, by their weights",
        caption=f"Earlier heads (below) that later ones read with their {words}: {drawn} at level {level:g} over all "
        f"pairs.{where}",
        caveat="A property of the weights: it says what a head could read, not what it does read on some prompt.",
        options={"colour_label": "score above random rotations"},
    )
