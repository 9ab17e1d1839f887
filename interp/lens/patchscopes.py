"""Patchscopes: ask the model itself what a hidden state holds (Ghandeharioun et al. 2024, "Patchscopes: A Unifying
Framework for Inspecting Hidden Representations of Language Models").

A hidden state of (source prompt, position, layer) is written into another prompt, the inspection prompt, at a position
and a layer of its own, and the model goes on from there. Two inspection prompts of the paper:

    identity      "cat -> cat; 1135 -> 1135; hello -> hello; ?"   written at the "?": the next token says which token
                  the state stands for (section 4.1)
    description   "Syria: Country in the Middle East, ..., x"     written at the "x": what is generated describes the
                  entity (section 4.3)

The model goes on from the placeholder itself, as in the paper, so a description mostly begins with the ":" that all
examples share. That says nothing of the entity: what is scored is the token after it. It is not forced, since where
the model goes on otherwise ("'s", or more of a name) that is part of what the state does. The same token is scored in
the same prompt with nothing written as well, since a prompt prefers some descriptions whatever is written into it.

Layer L is the stream that enters block L, as in the logit lens; the last, n_layers, has no block to enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.selecting import position_index
from interp.lens.patchscope_runs import (
    SEPARATORS,
    Inspection,
    Inspector,
    generate_from,
    leading,
    marked_prompt,
    source_layers,
)
from interp.lens.tuned_streams import streams_at
from interp.models import identity
from interp.models.tokens import to_strings
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos, strings_of

NOT_USED = (
    "How sure the model is of its words is no evidence that they are right, and what the inspection prompt makes of a "
    "state need not be what the model uses it for in the source prompt."
)
WRITTEN, UNWRITTEN = "state written", "nothing written"


class Patchscope(Result):
    """Axes: layer (the source's), target (the layer written to; absent where each state is written at its own), k.

    probability [layer, target]: of the first token that follows, after the separator where one comes first;
    unwritten_probability: of the same token after the same prompt with nothing written into it; drawn [read, layer]:
    both, the first apart by whether the separator came (where each state is written at its own layer). top_ids,
    top_log_probs [layer, target, k]: at the same place. Texts: `generated`, `skipped` (the separator, or nothing) and
    `top_tokens`, with the same axes. settings["unwritten"]: what the inspection prompt goes on with when nothing is
    written.
    """

    kind: ClassVar[str] = "patchscope"

    def descriptions(self) -> pd.DataFrame:
        """A row for each layer (and target): what was generated, its first token and how probable that was.

        The first token is the one after the separator, where there is one; "unwritten": its probability in the
        inspection prompt as it is.
        """
        values = self.values["probability"]
        names = list(values.dims)
        alone = self.values["unwritten_probability"].data.flatten().tolist()
        rows = []
        for i, text in enumerate(_flat(self.texts["generated"])):
            at, labels = i, []
            for axis in reversed(values.axes):
                labels.append(axis.labels[at % len(axis)])
                at //= len(axis)
            first = _flat(self.texts["top_tokens"])[i]
            rows.append((*reversed(labels), first, float(values.data.flatten()[i]), alone[i], text))
        return pd.DataFrame(rows, columns=[*names, "first token", "probability", "unwritten", "generated"])

    @property
    def prompt(self) -> str:
        """The inspection prompt, with « » around the token that states are written over."""
        return marked_prompt(self.settings)

    @property
    def place(self) -> str:
        """The token whose states are read, and where it stands: "' Tower' (position 3)"."""
        position = self.settings["position"]
        return f"{self.texts['tokens'][0][position]!r} (position {position})"


def patchscope(
    model: Any,
    source: Prompts,
    *,
    position: int | str = -1,
    layers: Sequence[int] | int | None = None,
    inspection: str | Tensor | Sequence[int] = "description",
    at: int = -1,
    target_layers: Literal["same"] | Sequence[int] | int = "same",
    separator: str | None = None,
    n_tokens: int = 16,
    top_k: int = 5,
    prepend_bos: bool = False,
) -> Patchscope:
    """Write the hidden state of a prompt's token, from each of some layers, into an inspection prompt, and read on.

    position: the token of the source prompt. layers: whose states are taken (default: all). inspection: "identity",
    "description", or a prompt of one's own; at: which of its tokens is overwritten. target_layers: where states are
    written, "same" for the layer each is from. separator: what the prompt's examples have before what they say, passed
    over in the scores where the model begins with it ("" for nothing; default: ":" of "description", "->" of
    "identity", nothing of a prompt of one's own). n_tokens: to generate, the most probable each time. prepend_bos:
    begin both prompts with BOS.

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
    if separator is None:
        separator = SEPARATORS.get(inspection, "") if isinstance(inspection, str) else ""
    read = _read(
        model, scope, streams[[layer for layer, _ in pairs]], [t for _, t in pairs], separator, n_tokens, top_k
    )
    axes = (Axis("layer", tuple(chosen)), *(() if same else (Axis("target", tuple(targets)),)))  # type: ignore[arg-type]
    shape = tuple(len(axis) for axis in axes)
    own = strings_of(model, prompts)[0]
    settings = {
        "position": int(where[0, 0]),
        "target_layers": "same" if same else targets,
        "n_tokens": n_tokens,
        "prepend_bos": has_bos(source, prepend_bos),
        "separator": separator,
        "unwritten": read.unwritten,
        **scope.describe(model),
    }
    return Patchscope(
        values=_values(read, axes, separator),
        settings=settings,
        provenance=provenance(model=identity(model), started=started, **described(source)),
        plots=_plots(same, own[settings["position"]], settings, read),
        texts={
            "tokens": [own],
            "generated": _nested(read.generated, shape),
            "skipped": _nested(read.skipped, shape),
            "top_tokens": _nested(to_strings(model, read.top_ids[:, 0]), shape),
        },
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """What follows each written state (all but `unwritten` have an entry a state), and the prompt as it is."""

    top_ids: Int[Tensor, "state k"]
    top_log_probs: Float[Tensor, "state k"]
    alone: Float[Tensor, " state"]
    """Log-probability of the first of top_ids with nothing written."""
    generated: list[str]
    skipped: list[str]
    unwritten: str


def _read(
    model: Any,
    scope: Inspection,
    vectors: Float[Tensor, "state d_model"],
    targets: Sequence[int],
    separator: str,
    n_tokens: int,
    top_k: int,
) -> _Read:
    """Generate from every state, and score the first token after the separator."""
    plain = Inspector(model, scope)
    own = plain.own[None].to(vectors)
    new = generate_from(model, scope, torch.cat([vectors, own]), [*targets, 0], n_tokens)
    passed = [leading(model, row, separator) for row in new[:-1]]
    inspectors = {(): plain}
    ids, log_probs, alone = [], [], []
    with progress(len(vectors), "writing states into the inspection prompt") as bar:
        for vector, target, first in zip(vectors, targets, passed):
            key = tuple(first.tolist())
            if key not in inspectors:
                inspectors[key] = Inspector(model, scope.followed_by(first))
            inspector = inspectors[key]
            top = inspector.log_probs(vector[None], target)[0].topk(top_k)
            ids.append(top.indices.cpu())
            log_probs.append(top.values.cpu())
            alone.append(inspector.log_probs(own, 0)[0, top.indices[0]].cpu())
            bar.advance()
    texts = [_text(model, row) for row in new]
    skipped = ["".join(to_strings(model, first)).strip() for first in passed]
    return _Read(torch.stack(ids), torch.stack(log_probs), torch.stack(alone), texts[:-1], skipped, texts[-1])


def _values(read: _Read, axes: tuple[Axis, ...], separator: str) -> dict[str, Values]:
    shape = tuple(len(axis) for axis in axes)
    k = Axis("k", tuple(range(1, read.top_ids.shape[1] + 1)))
    written, alone = (x.exp().view(shape) for x in (read.top_log_probs[:, 0], read.alone))
    drawn = {} if len(axes) > 1 else {"drawn": _drawn(read, axes[0], written, alone, separator)}
    return drawn | {
        "probability": Values(written, axes, "probability", "of the first token after the separator"),
        "unwritten_probability": Values(alone, axes, "probability", "of the same token, with nothing written"),
        "top_ids": Values(read.top_ids.view(*shape, -1), (*axes, k), "token id"),
        "top_log_probs": Values(read.top_log_probs.view(*shape, -1), (*axes, k), "nats"),
    }


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


def _drawn(read: _Read, layer: Axis, written: Tensor, alone: Tensor, separator: str) -> Values:
    """Lines of the figure: a comma that comes instead of a description is no point of the same line."""
    after = torch.tensor([bool(skipped) for skipped in read.skipped])
    lines = {f"after {separator!r}": written.where(after, torch.nan)} if bool(after.any()) else {}
    if not bool(after.all()):
        name = f"without {separator!r}" if lines else WRITTEN
        lines[name] = written.where(~after, torch.nan)
    lines[UNWRITTEN] = alone
    return Values(torch.stack([*lines.values()]), (Axis("read", tuple(lines)), layer), "probability")


def _plots(same: bool, token: str, settings: dict[str, Any], read: _Read) -> tuple[Plot, ...]:
    scored = f"the first token that follows{_passed_over(settings['separator'], read)}"
    place = f"the hidden state of {token!r} (position {settings['position']})"
    highest = float(torch.cat([read.top_log_probs[:, 0], read.alone]).exp().max())
    into = f"written over « » in the inspection prompt: {marked_prompt(settings)}"
    if same:
        return (
            Plot(
                "lines",
                "drawn",
                x="layer",
                series="read",
                title="Patchscope: probability of what is read first",
                caption=(
                    f"Probability of {scored}, with {place} taken from each layer and written into the same layer, "
                    f"and of the same token with nothing written. It is {into}"
                ),
                caveat=NOT_USED,
                options={"y_range": [0, min(1.0, 1.15 * highest)], "y_label": "probability"},
            ),
        )
    return (
        Plot(
            "heatmap",
            "probability",
            x="target",
            y="layer",
            title="Patchscope: probability of what is read first",
            caption=f"Probability of {scored}, by the layer that {place} is from and the one it is written to, {into}",
            caveat=NOT_USED,
            options={"origin": "lower", "colour_label": "probability", "cell_text": "top_tokens"},
        ),
    )


def _passed_over(separator: str, read: _Read) -> str:
    """Which part of what follows is not scored."""
    if not any(read.skipped):
        return ""
    otherwise = "" if all(read.skipped) else ", or the very first where none comes"
    return f" after the {separator!r} that the prompt's examples share{otherwise}"
