"""Patchscopes: ask the model itself what a hidden state holds (Ghandeharioun et al. 2024, "Patchscopes: A Unifying
Framework for Inspecting Hidden Representations of Language Models").

A hidden state of (source prompt, position, layer) is written into another prompt, the inspection prompt, at a position
and a layer of its own, and the model goes on from there. Two inspection prompts of the paper:

    identity      "cat -> cat; 1135 -> 1135; hello -> hello; ?"   written at the "?": the next token says which token
                  the state stands for (section 4.1)
    description   "Syria: Country in the Middle East, ..., x"     written at the "x": what is generated describes the
                  entity (section 4.3)

Layer L is the stream that enters block L, as in the logit lens; the last, n_layers, has no block to enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.selecting import position_index
from interp.lens.patchscope_runs import Inspection, Inspector, generate_from, source_layers
from interp.lens.questions import position_names
from interp.lens.tuned_streams import streams_at
from interp.models import identity
from interp.models.tokens import to_strings
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos, strings_of

NOT_USED = "What the inspection prompt makes of a state need not be what the model uses it for in the source prompt."


class Patchscope(Result):
    """Axes: layer (the source's), target (the layer written to; absent where each state is written at its own), k.

    probability [layer, target]: of the first token that follows. top_ids, top_log_probs [layer, target, k]. Texts:
    `generated` and `top_tokens`, with the same axes.
    """

    kind: ClassVar[str] = "patchscope"

    def descriptions(self) -> pd.DataFrame:
        """What was generated, a row for each layer (and target): the text, its first token and how probable it was."""
        values = self.values["probability"]
        names = list(values.dims)
        rows = []
        for i, text in enumerate(_flat(self.texts["generated"])):
            at, labels = i, []
            for axis in reversed(values.axes):
                labels.append(axis.labels[at % len(axis)])
                at //= len(axis)
            first = _flat(self.texts["top_tokens"])[i]
            rows.append((*reversed(labels), first, float(values.data.flatten()[i]), text))
        return pd.DataFrame(rows, columns=[*names, "next token", "probability", "generated"])


def patchscope(
    model: Any,
    source: Prompts,
    *,
    position: int | str = -1,
    layers: Sequence[int] | int | None = None,
    inspection: str | Tensor | Sequence[int] = "description",
    at: int = -1,
    target_layers: Literal["same"] | Sequence[int] | int = "same",
    n_tokens: int = 16,
    top_k: int = 5,
    prepend_bos: bool = False,
) -> Patchscope:
    """Write the hidden state of a prompt's token, from each of some layers, into an inspection prompt, and read on.

    position: the token of the source prompt. layers: whose states are taken (default: all). inspection: "identity",
    "description", or a prompt of one's own; at: which of its tokens is overwritten. target_layers: where states are
    written, "same" for the layer each is from. n_tokens: to generate, the most probable each time. prepend_bos: begin
    both prompts with BOS.

    Raises InputError for several source prompts, and for layers and positions that do not exist.
    """
    started = datetime.now()
    if n_tokens < 1 or top_k < 1:
        raise InputError(f"n_tokens={n_tokens} and top_k={top_k} must be at least 1")
    prompts = as_prompts(model, source, prepend_bos=prepend_bos)
    if len(prompts) != 1:
        raise InputError(f"a patchscope is of one prompt, not of {len(prompts)}; ask for each")
    where = position_index(position, 1, prompts.shape[1], prompts)
    scope = Inspection.of(model, inspection, at, prepend_bos and isinstance(inspection, str))
    chosen = source_layers(model, layers)
    same = isinstance(target_layers, str)
    if same and target_layers != "same":
        raise InputError(f"target_layers is 'same' or layers, not {target_layers!r}")
    targets = [None] if same else source_layers(model, target_layers)  # type: ignore[arg-type]
    streams = streams_at(model, prompts.as_subclass(Tensor), where)[:, 0, 0]
    pairs = [(layer, layer if target is None else target) for layer in chosen for target in targets]
    vectors = streams[[layer for layer, _ in pairs]]
    top = _first_tokens(model, scope, vectors, [target for _, target in pairs], top_k)
    new = generate_from(model, scope, vectors, [target for _, target in pairs], n_tokens)
    axes = (Axis("layer", tuple(chosen)), *(() if same else (Axis("target", tuple(targets)),)))  # type: ignore[arg-type]
    shape = tuple(len(axis) for axis in axes)
    k = Axis("k", tuple(range(1, top.indices.shape[1] + 1)))
    values = {
        "probability": Values(top.values[:, 0].exp().view(shape), axes, "probability", "of the first token generated"),
        "top_ids": Values(top.indices.view(*shape, -1), (*axes, k), "token id"),
        "top_log_probs": Values(top.values.view(*shape, -1), (*axes, k), "nats"),
    }
    generated = [_text(model, row) for row in new]
    best = to_strings(model, top.indices[:, 0])
    own = strings_of(model, prompts)[0]
    return Patchscope(
        values=values,
        settings={
            "position": int(where[0, 0]),
            "target_layers": "same" if same else targets,
            "n_tokens": n_tokens,
            "prepend_bos": has_bos(source, prepend_bos),
            **scope.describe(model),
        },
        provenance=provenance(model=identity(model), started=started, **described(source)),
        plots=_plots(same, position_names(model, prompts, where)[0]),
        texts={"tokens": [own], "generated": _nested(generated, shape), "top_tokens": _nested(best, shape)},
    )


def _first_tokens(model: Any, scope: Inspection, vectors: Tensor, targets: Sequence[int], top_k: int) -> Any:
    inspector = Inspector(model, scope)
    found = []
    with progress(len(vectors), "writing states into the inspection prompt") as bar:
        for vector, target in zip(vectors, targets):
            found.append(inspector.log_probs(vector[None], target)[0].topk(top_k))
            bar.advance()
    return torch.return_types.topk(
        (torch.stack([x.values for x in found]).cpu(), torch.stack([x.indices for x in found]).cpu())
    )


def _text(model: Any, tokens: Tensor) -> str:
    """The text of generated tokens, up to where the model ends it."""
    if model.tokenizer is None:
        return " ".join(to_strings(model, tokens))
    end = model.tokenizer.eos_token_id
    ids = tokens.tolist()
    return model.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids, skip_special_tokens=False)


def _nested(items: list[str], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) == 1:
        return items
    return [items[i : i + shape[1]] for i in range(0, len(items), shape[1])]


def _flat(items: Any) -> list[str]:
    return [item for row in items for item in (row if isinstance(row, list) else [row])]


def _plots(same: bool, token: str) -> tuple[Plot, ...]:
    words = f"the hidden state of {token!r} is written into the inspection prompt"
    if same:
        return (
            Plot(
                "lines",
                "probability",
                x="layer",
                title="Patchscope: probability of the first token",
                caption=f"How sure the model is of what follows when {words}, from each layer into the same layer.",
                caveat=NOT_USED,
                options={"y_range": [0, 1]},
            ),
        )
    return (
        Plot(
            "heatmap",
            "probability",
            x="target",
            y="layer",
            title="Patchscope: probability of the first token",
            caption=f"How sure the model is of what follows when {words}, by source and target layer.",
            caveat=NOT_USED,
            options={"origin": "lower", "colour_label": "probability", "cell_text": "top_tokens"},
        ),
    )
