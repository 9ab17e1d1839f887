"""Weights in the context of their actual inputs: which singular directions do anything on real text?

A singular value says how much a matrix makes of a direction, not how much of that direction it is ever given. Over
the tokens of a text, W = Σ_i s_i u_i v_iᵀ writes along v_i with the variance s_i² var(x · u_i): shares of it, direction
by direction, are set beside the shares s_i² of the weights alone. For OV they are taken a second time after attention,
from what the head really wrote; for QK each direction adds s_i (query · u_i)(key · v_i) to the score, and its share is
that of the variance of scores (such shares add up to 1 and may be negative). The best that so many directions could do
are the principal components of what is written. Each direction is told with the tokens on which it was given most.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.heads.matrices.actual_inputs import Received, received
from interp.heads.matrices.factored import Singular
from interp.heads.matrices.parts import PartLike, only_matrix, stated_offset
from interp.heads.rotating import key_place, offset_words
from interp.models import identity
from interp.models.tokens import running_strings
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos

WEIGHTS, INPUTS, ATTENTION, BEST = "weights alone", "given the inputs", "after attention", "best directions"
BEFORE, AFTER = 7, 2
"""Tokens of context that are told with a token."""


class WeightsInContext(Result):
    """cumulative, share [line, direction]: of the weights' squared norm, of the variance of what they make of the
    actual inputs, after attention (OV), and by the best directions there are; from large to small singular value.

    input_sd, singular_value [direction]. weights [view, input, direction]: the entries s_i u_i of the inputs that count
    most, plain and times the standard deviation of each input. largest [direction, end, rank]: the largest and smallest
    inputs along the directions that carry most, in standard deviations; `examples` has their tokens.
    """

    kind: ClassVar[str] = "weights_in_context"

    def examples(self, n: int = 3) -> pd.DataFrame:
        """For the directions that carry most of what is made of the inputs: the texts that were furthest along them."""
        largest = self.values["largest"]
        directions = largest.axis("direction").labels
        used = INPUTS if ATTENTION not in self.values["share"].axis("line").labels else ATTENTION
        share = self.values["share"].sel(line=used).data
        told: list[Any] = self.texts["examples"]
        return pd.DataFrame(
            {
                "direction": direction,
                "share": float(share[int(direction)]),
                "end": end,
                "SD": float(largest.data[i, j, k]),
                "text": told[i][j][k],
            }
            for i, direction in enumerate(directions)
            for j, end in enumerate(largest.axis("end").labels)
            for k in range(min(n, largest.data.shape[2]))
        )

    def summary(self) -> pd.DataFrame:
        """How many directions carry half and nine tenths of each line."""
        cumulative = self.values["cumulative"]
        rows = []
        for line, numbers in zip(cumulative.axis("line").labels, cumulative.data):
            reached = [int((numbers < share).sum()) + 1 for share in (0.5, 0.9)]
            rows.append({"share of": line, "directions for half": reached[0], "for 90 %": reached[1]})
        return pd.DataFrame(rows)


@torch.no_grad()
def weights_in_context(
    model: Any,
    part: PartLike,
    matrix: str,
    prompts: Prompts,
    *,
    offset: int = 0,
    n: int = 4,
    top: int = 4,
    n_shown: int = 12,
    seed: int = 0,
    prepend_bos: bool = False,
) -> WeightsInContext:
    """One matrix ("OV", "QK", "W_in", "W_gate", "W_out") of a head or MLP, and what it is given on some prompts.

    First positions and tokens over ten times as long as the median are left out. offset: for QK in a rotary model, how
    many tokens before the query the key lies; elsewhere keys are drawn at random. n, top: directions told with
    examples, and how many at each end. n_shown: directions and inputs of the diagram. Raises InputError for parts,
    matrices and offsets that the model does not have, and for prompts with too few tokens.
    """
    started = datetime.now()
    if n < 1 or top < 1:
        raise InputError(f"n={n} directions with top={top} examples leave nothing to tell; use at least 1 of each")
    chosen = only_matrix(model, part, matrix, offset)
    stated = stated_offset(model, [chosen], offset)
    tokens = as_prompts(model, prompts, prepend_bos=prepend_bos)
    seen = received(model, chosen, tokens, stated, seed)
    found = _cpu(chosen.factored.singular())
    along = seen.inputs.double() @ found.U  # [row, direction]
    share = _shares(found, seen, along)
    order = share[ATTENTION if ATTENTION in share else INPUTS].argsort(descending=True)[:n]
    values = _values(found, along, share) | _diagram(found, seen, n_shown)
    values["largest"], examples = _largest(model, seen, along, tokens, order, top)
    return WeightsInContext(
        values=values,
        settings={
            "matrix": chosen.name,
            "offset": stated,
            "n_tokens": len(seen.inputs),
            "n_left_out": seen.n_left_out,
            "prepend_bos": has_bos(prompts, prepend_bos),
            "norms": "folded",
        },
        provenance=provenance(
            model=identity(model), started=started, **described(prompts) | ({"seed": seed} if stated is None else {})
        ),
        plots=_plots(chosen.name, stated, matrix, len(seen.inputs)),
        texts={"examples": examples},
    )


def _cpu(found: Singular) -> Singular:
    """Directions with a singular value of nothing say nothing: of a centred matrix there is one."""
    kept = found.S / found.S[0].clamp(min=1e-300) > 1e-9
    return Singular(found.U[:, kept].cpu(), found.S[kept].cpu(), found.V[:, kept].cpu())


def _shares(
    found: Singular, seen: Received, along: Float[Tensor, "row direction"]
) -> dict[str, Float[Tensor, " direction"]]:
    made = along * found.S
    squares = found.S.pow(2)
    shares = {WEIGHTS: squares / squares.sum()}
    if seen.others is not None:
        terms = made * (seen.others.double() @ found.V)
        terms = terms - terms.mean(0)
        total = terms.sum(1)
        shares[INPUTS] = terms.mT @ total / total.pow(2).sum().clamp(min=1e-300)
        return shares
    shares[INPUTS] = _normed(made.var(0))
    if seen.outputs is not None:
        made = seen.outputs.double() @ found.V
        shares[ATTENTION] = _normed(made.var(0))
    shares[BEST] = _normed(torch.linalg.eigvalsh(torch.cov(made.mT)).flip(0).clamp(min=0))
    return shares


def _normed(variances: Float[Tensor, " direction"]) -> Float[Tensor, " direction"]:
    return variances / variances.sum().clamp(min=1e-300)


def _values(found: Singular, along: Float[Tensor, "row direction"], shares: dict[str, Tensor]) -> dict[str, Values]:
    direction = Axis("direction", tuple(range(len(found.S))))
    axes = (Axis("line", tuple(shares)), direction)
    each = torch.stack(list(shares.values()))
    return {
        "cumulative": Values(each.cumsum(1).float(), axes, "share"),
        "share": Values(each.float(), axes, "share"),
        "singular_value": Values(found.S.float(), (direction,)),
        "input_sd": Values(along.std(0).float(), (direction,), "", "of what is given, along each direction"),
    }


def _diagram(found: Singular, seen: Received, n_shown: int) -> dict[str, Values]:
    """The entries of the inputs that count most, plain and as they are used."""
    plain = (found.U * found.S)[:, :n_shown]
    used = plain * seen.inputs.double().std(0)[:, None]
    rows = [view.pow(2).sum(1).argsort(descending=True)[: max(1, n_shown // 2)] for view in (plain, used)]
    chosen = torch.cat(rows).unique()
    axes = (
        Axis("view", ("weights", "weights × SD of the input")),
        Axis("input", tuple(chosen.tolist())),
        Axis("direction", tuple(range(plain.shape[1]))),
    )
    return {"weights": Values(torch.stack([plain[chosen], used[chosen]]).float(), axes, "weight")}


def _largest(
    model: Any, seen: Received, along: Float[Tensor, "row direction"], tokens: Tensor, order: Tensor, top: int
) -> tuple[Values, list[Any]]:
    along = along[:, order]
    along = (along - along.mean(0)) / along.std(0).clamp(min=1e-300)
    top = min(top, len(along))
    index = torch.stack([along.topk(top, dim=0).indices.T, (-along).topk(top, dim=0).indices.T], dim=1)
    sizes = along.T[:, None].expand(-1, 2, -1).gather(2, index)
    strings = [running_strings(model, row) for row in tokens.as_subclass(Tensor).cpu()]
    told = [
        [[_told(strings[int(seen.example[i])], int(seen.position[i])) for i in end.tolist()] for end in ends]
        for ends in index
    ]
    axes = (
        Axis("direction", tuple(order.tolist())),
        Axis("end", ("+", "−")),
        Axis("rank", tuple(range(top))),
    )
    return Values(sizes.float(), axes, "SD over tokens"), told


def _told(strings: list[str], position: int) -> str:
    """A token in its text: ... went to the «store» and ..."""
    before = "".join(strings[max(0, position - BEFORE) : position])
    after = "".join(strings[position + 1 : position + 1 + AFTER])
    token = strings[position]
    space = token[: len(token) - len(token.lstrip())] if token.strip() else ""
    return " ".join(f"{before}{space}«{token[len(space) :]}»{after}".split())


def _plots(name: str, offset: int | None, matrix: str, n_rows: int) -> tuple[Plot, ...]:
    what = "tokens"
    if matrix == "QK":
        what = "pairs of tokens, keys drawn at random" if offset is None else f"pairs of tokens, QK {key_place(offset)}"
        what += ", each token with itself" * (offset == 0)
    made = "the variance of its scores" if matrix == "QK" else "the variance of what it makes of its inputs"
    return (
        Plot(
            "lines",
            "cumulative",
            x="direction",
            series="line",
            title=f"{name}: what its singular directions carry",
            caption=f"Share that the first singular directions hold of the weights' squared norm, and of {made} over "
            f"{n_rows:,} {what}.",
            caveat="On this text; first positions and norm outliers are left out.",
            options={"y_label": "share, cumulative", "x_label": "singular directions", "y_range": [0, 1.02]},
        ),
        Plot(
            "hinton",
            "weights",
            x="direction",
            y="input",
            series="view",
            title=f"{name}: weights, and weights as they are used",
            caption="Entries of the first singular directions at the inputs that count most, plain and times the "
            f"standard deviation of each input over the text.{offset_words(offset)}",
            options={"own_scale": True, "x_label": "singular direction", "y_label": "input"},
        ),
    )
