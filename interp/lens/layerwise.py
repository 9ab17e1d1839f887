"""The logit lens: what the model would predict if it ended after each layer (nostalgebraist 2020).

Every residual vector goes through the model's own final norm and unembedding. The last entry is the model's own
prediction, which is checked on every prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import Activations, capture
from interp.hooks.prompts import PromptTokens
from interp.hooks.readout import Readout
from interp.hooks.selecting import Positions, position_index
from interp.hooks.sites import Site
from interp.lens.lens_values import lens_plots, lens_texts, lens_values
from interp.lens.questions import Tokens, position_names, token_columns, token_names
from interp.lens.reading import Readings, log_probabilities, read_vectors
from interp.models import identity
from interp.results import Result, Values
from interp.runs import provenance
from interp.tasks.pairs import PromptPairs
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos, strings_of

PASS_TOKENS = 2048


class LogitLens(Result):
    """Axes: layer (the residual stream entering that block; the last label, n_layers, is the model's output), position
    (absent where one was asked for), target.

    logit_difference [layer, position], low, high, per_prompt: answer less distractor, mean over prompts (tasks only).
    log_prob, rank [layer, position, target]: of the targets; means over prompts, and medians of the ranks, 0 the most
    probable token; `_per_prompt` beside them. entropy [layer, position]: of the whole prediction, in nats. top_ids,
    top_log_probs [example, layer, position, k]: the most probable tokens (no example axis for a single prompt).
    """

    kind: ClassVar[str] = "logit_lens"


@dataclass(frozen=True, eq=False)
class LensQuestion:
    """Which residual vectors are read, and which tokens are looked up in them.

    positions [batch, chosen]. columns [batch, column] ids padded with -1, or None for the model's own prediction at
    each position. groups: name -> number of columns, whose probabilities are added (answers, distractors). entries:
    label and site of each layer. translate: what (stream, layer) becomes before it is read (the tuned lens).
    """

    prompts: PromptTokens
    positions: Int[Tensor, "batch chosen"]
    columns: Int[Tensor, "batch column"] | None
    groups: dict[str, int]
    entries: dict[int | str, Site]
    single_position: bool
    translate: Callable[[Tensor, int], Tensor] | None = None


def logit_lens(
    model: Any,
    prompts: Prompts,
    *,
    targets: Tokens | None = None,
    positions: Positions = None,
    layers: Sequence[int] | int | None = None,
    mid: bool = False,
    top_k: int = 10,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> LogitLens:
    """Log-probability and rank of chosen tokens after every layer, entropy, and the most probable tokens.

    prompts: a task, a text, several texts, or token ids. targets: tokens as text with their leading space or as ids, or
    a tensor [batch] or [batch, n]; default: a task's answers and distractors (with their logit difference), else the
    model's own prediction at each position. positions: see `interp.hooks.selecting`; default: a task's metric's, else
    all. layers: only these entries, 0 ... n_layers, where n_layers is the output. mid: also between attention and MLP.
    top_k: how many of the most probable tokens to keep. batch_size: prompts a pass (default: as memory allows).

    Raises InputError for targets of several tokens, positions and layers that do not exist, and models whose logits
    are not their final norm and unembedding.
    """
    started = datetime.now()
    question = ask_lens(model, prompts, targets, positions, layers, mid, prepend_bos)
    values, settings = answer_lens(model, question, top_k, batch_size)
    return LogitLens(
        values=values,
        settings=settings | {"mid": mid, "prepend_bos": has_bos(prompts, prepend_bos)},
        provenance=provenance(model=identity(model), started=started, **described(prompts)),
        plots=lens_plots(values, "prediction" in question.groups),
        texts={"tokens": strings_of(model, question.prompts)} | lens_texts(model, values),
    )


def answer_lens(
    model: Any, question: LensQuestion, top_k: int, batch_size: int | None
) -> tuple[dict[str, Values], dict[str, Any]]:
    """Named values of what a lens is asked, and the settings that say how."""
    if top_k < 1:
        raise InputError(f"top_k={top_k} keeps no token; use at least 1")
    step = batch_size or max(1, PASS_TOKENS // question.prompts.shape[1])
    readings = _joined([_read_rows(model, question, rows, top_k) for rows in _batches(len(question.prompts), step)])
    names = position_names(model, question.prompts, question.positions)
    values = lens_values(question.groups, list(question.entries), names, question.single_position, readings)
    return values, {
        "targets": list(question.groups),
        "positions": None if question.single_position else list(names),
        "top_k": top_k,
        "n": len(question.prompts),
    }


def ask_lens(
    model: Any,
    prompts: Prompts,
    targets: Tokens | None,
    positions: Positions,
    layers: Sequence[int] | int | None,
    mid: bool,
    prepend_bos: bool,
) -> LensQuestion:
    """What a lens is asked, checked: see `logit_lens`."""
    tokens = as_prompts(model, prompts, prepend_bos=prepend_bos)
    task = prompts if isinstance(prompts, PromptPairs) else None
    if task is not None and positions is None:
        positions = task.metric.position
    index = position_index(positions, len(tokens), tokens.shape[1], tokens)
    if targets is None and task is not None:
        columns, groups = torch.cat([task.answers, task.distractors], dim=1).cpu(), _groups_of(task)
    elif targets is None:
        columns, groups = None, {"prediction": 1}
    else:
        columns = token_columns(model, targets, len(tokens), "target")
        groups = dict.fromkeys(token_names(model, columns), 1)
    single = isinstance(positions, int | str) or (isinstance(positions, Tensor) and positions.ndim == 1)
    return LensQuestion(tokens, index, columns, groups, lens_entries(model, layers, mid), single)


def _groups_of(task: PromptPairs) -> dict[str, int]:
    groups = {"answer": task.answers.shape[1], "distractor": task.distractors.shape[1]}
    return {name: n for name, n in groups.items() if n}


def lens_entries(model: Any, layers: Sequence[int] | int | None, mid: bool) -> dict[int | str, Site]:
    """Label -> site of every entry: 0 ... n_layers, with "3 mid" between where asked for."""
    n_layers = int(model.cfg.n_layers)
    chosen = list(range(n_layers + 1)) if layers is None else [layers] if isinstance(layers, int) else list(layers)
    wrong = [layer for layer in chosen if layer not in range(n_layers + 1)]
    if wrong or not chosen:
        raise InputError(
            f"the lens has no layer {wrong[0] if wrong else 'left'}; its layers are 0 to {n_layers}, the output"
        )
    entries: dict[int | str, Site] = {}
    for layer in chosen:
        site = sites.resid_pre(layer) if layer < n_layers else sites.resid_post(n_layers - 1)
        entries[str(layer) if mid else layer] = site
        if mid and layer < n_layers:
            entries[f"{layer} mid"] = sites.resid_mid(layer)
    for site in entries.values():
        sites.check(model, site)
    return entries


def _batches(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _read_rows(model: Any, question: LensQuestion, rows: slice, top_k: int) -> dict[str, Tensor]:
    """One pass over some prompts; every value is [batch, layer, chosen, ...]."""
    index = question.positions[rows]
    output = sites.resid_post(int(model.cfg.n_layers) - 1)
    tokens = question.prompts.as_subclass(Tensor)[rows, : int(index.max()) + 1]
    acts = capture(model, tokens, [*question.entries.values(), output], index, readout=Readout(index[:, -1:], None))
    _check_output(model, acts[output][:, -1], acts)
    columns = None if question.columns is None else question.columns[rows]
    found = read_layers(model, acts, [*question.entries.values()], output, columns, top_k, question.translate)
    beyond = index >= question.prompts.lengths.cpu()[rows, None]  # pads, where all positions were asked for
    for name, value in found.items():
        mask = beyond[:, None, :].view(len(beyond), 1, beyond.shape[1], *[1] * (value.ndim - 3))
        found[name] = value.masked_fill(mask, float("nan") if value.is_floating_point() else -1)
    return found


def read_layers(
    model: Any,
    acts: Activations,
    entries: Sequence[Site],
    output: Site,
    columns: Int[Tensor, "batch column"] | None,
    top_k: int,
    translate: Callable[[Tensor, int], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Every entry read; acts [batch, chosen, d_model]. columns None: the output's own most probable token.

    translate: see `LensQuestion`.
    """
    batch, chosen, d_model = acts[output].shape
    if columns is None:
        nothing = torch.full((batch * chosen, 1), -1)
        wanted = read_vectors(model, acts[output].reshape(-1, d_model), nothing).top_ids
    else:
        wanted = columns[:, None, :].expand(-1, chosen, -1).reshape(batch * chosen, -1)
    # All entries in one go: every call walks the whole model to see that it is in eval mode.
    streams = [acts[site] if translate is None else translate(acts[site], _layer_entered(site)) for site in entries]
    vectors = torch.cat([stream.reshape(-1, d_model) for stream in streams])
    readings = read_vectors(model, vectors, wanted.repeat(len(entries), 1), top_k)
    shape = (len(entries), batch, chosen)
    return {name: getattr(readings, name).unflatten(0, shape).transpose(0, 1) for name in Readings.__dataclass_fields__}


def _layer_entered(site: Site) -> int:
    """The block that a stream enters; one past the last for the output."""
    assert site.layer is not None
    return site.layer + (site.kind == "resid_post")


def _check_output(model: Any, final: Float[Tensor, "batch d_model"], acts: Activations) -> None:
    """The last entry has to be the model's own prediction."""
    assert acts.logits is not None
    own, ours = acts.logits.float().log_softmax(-1), log_probabilities(model, final)
    spread = float((own - own.mean(-1, keepdim=True)).abs().max())
    worst = float((own - ours.to(own.device)).abs().max())
    if worst > (1e-3 if acts.logits.dtype == torch.float32 else 5e-2) * spread:
        raise InputError(
            f"final norm and unembedding of the last stream are not this model's prediction (off by {worst:.3g}"
            f" nats of {spread:.3g}), so a logit lens would not show what it predicts"
        )


def _joined(pieces: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
