"""Copying: does a head raise the logit of the token it attends to?

`copying_scores` asks it of random tokens (Olsson et al. 2022, "In-context Learning and Induction Heads", appendix),
`name_copying` of the names of a task (Wang et al. 2022, "Interpretability in the Wild", section 3.1 and appendix).
Both send what a head reads at a token through its OV circuit, the final norm and the unembedding, as if the head looked
nowhere else, and leave out whatever the layers in between and after would do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.heads.weights import folded_heads, folded_unembedding
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.head_names import Head, largest_heads
from interp.hooks.partial import can_read_narrowly
from interp.hooks.sites import Site
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks import PromptPairs, ioi
from interp.tasks.wording import ordinary_tokens

READS: dict[str, Callable[[int], Site]] = {
    "embedding": lambda layer: sites.embed(),
    "first_block": lambda layer: sites.resid_post(0),
    "stream": lambda layer: sites.resid_pre(layer),
}
"""What a head of a layer reads at a token: its embedding, the stream after block 0, or the stream as it finds it."""
SIGNS = ("copies", "suppresses")
LOGIT_BYTES = 2**27
"""Logits that exist at a time."""


class CopyingScores(Result):
    """score, low, high [layer, head]: mean over prompts, -1 to 1, with its 95 % interval. per_prompt [example, layer,
    head]. A head that raises tokens at random scores 2 / length - 1.
    """

    kind: ClassVar[str] = "copying_scores"


@torch.no_grad()
def copying_scores(
    model: Any, *, n: int = 10, length: int = 25, seed: int = 0, reads: str = "embedding"
) -> CopyingScores:
    """Olsson et al.'s copying score of every head, on `n` samples of `length` different random tokens.

    For each token of a sample: what the head, attending to it alone, adds to the logits of the sample's tokens; less
    their mean; negative ones set to 0; the share of the rest that goes to the token itself, r. The score is 2 r - 1,
    averaged over the sample. (The paper lets r end at 0.5 and rescales that to -1 ... 1; as it describes r, it can
    reach 1.) reads: what the head reads at a token: "embedding" (the direct path, as in the paper), "first_block", the
    stream after block 0, which many models use to make their embeddings usable, or "stream", what really stands there
    when the head's layer begins. The paper leaves out the commonest and rarest tokens; this does not, since tokenizers
    do not say which those are.
    """
    started = datetime.now()
    tokens = _samples(model, n, length, seed)
    read = _read(model, tokens, reads)
    columns = folded_unembedding(model).T[tokens.to(model.W_U.device)]  # [example, token, d_model]
    each = torch.stack([_raised(model, layer, x.float(), columns) for layer, x in enumerate(read)], dim=1)
    per_prompt = Values(each, (Axis("example", tuple(range(n))), *_head_axes(model)), "", "2 r - 1 of each sample")
    means = mean_with_interval(per_prompt)
    return CopyingScores(
        values={"score": means["mean"], "low": means["low"], "high": means["high"], "per_prompt": per_prompt},
        settings={"n": n, "length": length, "reads": reads, "chance": 2 / length - 1},
        provenance=provenance(model=identity(model), seed=seed, started=started),
        plots=(
            Plot(
                "heatmap",
                "score",
                x="head",
                y="layer",
                title="Copying scores",
                caption="1: all that a head raises, attending to a random token, is that token's own logit.",
                caveat="The direct path only: what other layers do to a token before the head reads it is left out.",
                low="low",
                high="high",
                options={"colour_range": [-1, 1], "colour_label": "score"},
            ),
        ),
    )


def _read(
    model: Any, tokens: Int[Tensor, "example pos"], reads: str, positions: Int[Tensor, "example read"] | None = None
) -> list[Float[Tensor, "example read d_model"]]:
    """What the heads of each layer read at the positions (all unless given)."""
    if reads not in READS:
        raise unknown("reading", reads, READS)
    each = [READS[reads](layer) for layer in range(int(model.cfg.n_layers))]
    acts = capture(model, tokens, list(dict.fromkeys(each)), positions)
    return [acts[site] for site in each]


def _samples(model: Any, n: int, length: int, seed: int) -> Int[Tensor, "example token"]:
    """n rows of different ordinary tokens."""
    vocabulary = ordinary_tokens(model)
    if n < 1 or not 2 <= length <= len(vocabulary):
        raise InputError(f"n={n} samples of length={length} need n >= 1 and 2 to {len(vocabulary)} different tokens")
    if (n_ctx := getattr(model.cfg, "n_ctx", None)) is not None and length > n_ctx:
        raise InputError(f"length={length} does not fit the model's context of {n_ctx} tokens; choose at most {n_ctx}")
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([vocabulary[torch.randperm(len(vocabulary), generator=generator)[:length]] for _ in range(n)])


def _raised(
    model: Any,
    layer: int,
    read: Float[Tensor, "example token d_model"],
    columns: Float[Tensor, "example token d_model"],
) -> Float[Tensor, "example head"]:
    """2 r - 1, r the share of what a head raises that goes to the token attended to; a head of zeros raises none."""
    weights = folded_heads(model, layer)
    scale = read.pow(2).mean(-1, keepdim=True).sqrt().clamp(min=1e-12)  # any factor will do; this keeps numbers small
    values = torch.einsum("nsd,hde->nhse", read / scale, weights.W_V)
    targets = torch.einsum("nsd,hed->nhes", columns, weights.W_O)
    logits = values @ targets  # [example, head, source, token]
    raised = (logits - logits.mean(-1, keepdim=True)).clamp(min=0)
    total = raised.sum(-1)
    ratio = torch.where(total > 0, raised.diagonal(0, -2, -1) / total, 0.0)
    return (2 * ratio - 1).mean(-1).cpu()


class NameCopying(Result):
    """share, low, high [sign, layer, head]: how often a name is among the `top` tokens that a head raises most
    ("copies") or lowers most ("suppresses"), mean over prompts with its 95 % interval. average [sign]: mean over all
    heads. per_prompt [example, sign, layer, head].
    """

    kind: ClassVar[str] = "name_copying"

    def top_heads(self, sign: str = "copies", n: int = 5) -> list[Head]:
        """The n heads with the largest share, as (layer, head)."""
        return largest_heads(self.values["share"].sel(sign=sign).data, n)


@torch.no_grad()
def name_copying(
    model: Any,
    task: PromptPairs | None = None,
    *,
    n: int = 20,
    roles: Sequence[str] | None = None,
    top: int = 5,
    reads: str = "first_block",
    seed: int = 0,
    prepend_bos: bool = False,
) -> NameCopying:
    """Wang et al.'s copy score: would a head, attending to a name alone, predict that name?

    The stream at each name after block 0 (the first MLP) goes through the norm of the head's layer, its values and
    outputs, the final norm and the unembedding; the score is the share of names among the `top` logits of the whole
    vocabulary. "suppresses" is the same with what the head writes negated, for negative heads. task: whose clean
    prompts, by default `n` of `tasks.ioi`; roles: the positions whose tokens count (default: IO, S1, S2 where the task
    has them, else all but "end"). reads: "first_block" as in the paper; late heads of some models read directions that
    only "embedding" or "stream", what really stands at the name, holds. Published for GPT-2 small: name movers over
    95 %, negative heads 98 % suppressing, 12 % for an average head.
    """
    started = datetime.now()
    given = ioi(model, n=n, seed=seed, prepend_bos=prepend_bos) if task is None else task
    chosen = _roles(given, roles)
    if not can_read_narrowly(model):
        raise InputError("this model's logits are not final norm and unembedding of what is in its stream")
    index = torch.stack([given.positions[role] for role in chosen], dim=1)
    names = given.clean.gather(1, index).as_subclass(Tensor)
    ranks = [_ranks(model, layer, x, names) for layer, x in enumerate(_read(model, given.clean, reads, index))]
    each = torch.stack(ranks, dim=2).lt(top).float().mean(-1)  # [example, sign, layer, head]
    axes = (Axis("example", tuple(range(len(each)))), Axis("sign", SIGNS), *_head_axes(model))
    per_prompt = Values(each, axes, "share of names")
    means = mean_with_interval(per_prompt)
    average = Values(each.mean((0, 2, 3)), axes[1:2], "share of names", "mean over all heads")
    return NameCopying(
        values={"share": means["mean"], "low": means["low"], "high": means["high"], "average": average}
        | {"per_prompt": per_prompt},
        settings={"n": len(each), "roles": list(chosen), "top": top, "reads": reads},
        provenance=provenance(
            model=identity(model), task=given.describe(), seed=seed if task is None else None, started=started
        ),
        plots=(_names_plot(top, float(average.data[0])),),
    )


def _names_plot(top: int, average: float) -> Plot:
    return Plot(
        "heatmap",
        "share",
        x="head",
        y="layer",
        series="sign",
        title="Name copying",
        caption=f"How often the name a head attends to is among the {top} tokens it raises (copies) or lowers "
        f"(suppresses) most; {average:.0%} copied by an average head.",
        caveat="Whether the head attends to names at all is another question: see its attention.",
        low="low",
        high="high",
        options={"colour_range": [0, 1], "colour_label": "share of names"},
    )


def _roles(task: PromptPairs, roles: Sequence[str] | None) -> tuple[str, ...]:
    names = [role for role in ("IO", "S1", "S2") if role in task.positions]
    chosen = tuple(roles or names or [role for role in task.positions if role != "end"])
    for role in chosen:
        if role not in task.positions:
            raise unknown("position", role, task.positions)
    if not chosen:
        raise InputError("this task names no positions but its end; say with positions= where its names stand")
    return chosen


def _ranks(
    model: Any, layer: int, stream: Float[Tensor, "example name d_model"], names: Int[Tensor, "example name"]
) -> Int[Tensor, "example sign head name"]:
    """How many other tokens have at least the logit of the name, if the head wrote nothing but its copy of the name.

    Through the model's own norms and biases, since here the whole vocabulary competes.
    """
    block = model.blocks[layer]
    n_heads, n_groups = int(model.cfg.n_heads), block.attn.W_V.shape[0]
    folded_heads(model, layer)  # refuses a model whose heads are not what its weights say
    values = torch.einsum("bnd,hde->bnhe", block.ln1(stream), block.attn.W_V)
    bias = getattr(block.attn, "b_V", None)
    values = values if bias is None else values + bias.view(n_groups, -1)
    written = torch.einsum("bnhe,hed->hbnd", values.repeat_interleave(n_heads // n_groups, dim=2), block.attn.W_O)
    after = getattr(block, "ln1_post", None)
    written = written if after is None else after(written)
    wanted = names.to(written.device).expand(n_heads, -1, -1).flatten()
    rows = max(1, LOGIT_BYTES // (8 * int(model.cfg.d_vocab)))
    ranks = [
        _signed_ranks(model, part, columns)
        for part, columns in zip(written.flatten(0, 2).split(rows), wanted.split(rows))
    ]
    return torch.cat(ranks, dim=1).view(2, n_heads, *names.shape).permute(2, 0, 1, 3).cpu()


def _signed_ranks(
    model: Any, written: Float[Tensor, "row d_model"], names: Int[Tensor, " row"]
) -> Int[Tensor, "2 row"]:
    """Ranks among the logits of what was written, and of its opposite; tokens with equal logits share the last rank.

    The unembedding is linear: what is negated is the normalised output without the final norm's bias. A soft cap
    changes no rank.
    """
    bias = model.ln_final(torch.zeros_like(written[None, :1]))[0]
    linear = (model.ln_final(written[None])[0] - bias) @ model.W_U
    constant = bias @ model.W_U + model.b_U
    ranks = []
    for logits in (constant + linear, constant - linear):
        # The last, so that a head that writes nothing neither copies nor suppresses every name.
        ranks.append((logits >= logits.gather(1, names[:, None])).sum(1) - 1)
    return torch.stack(ranks)


def _head_axes(model: Any) -> tuple[Axis, Axis]:
    return Axis("layer", tuple(range(int(model.cfg.n_layers)))), Axis("head", tuple(range(int(model.cfg.n_heads))))
