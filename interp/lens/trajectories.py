"""Prediction trajectories: what would follow a prompt's tokens, layer after layer (Belrose et al. 2023)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from interp.errors import InputError
from interp.lens.lens_values import MAX_WRITTEN, OWN_BASIS
from interp.lens.questions import position_names
from interp.lens.translators import TunedLens
from interp.lens.tuned_divergence import Unembedding
from interp.lens.tuned_reading import TUNED, lens_settings, read_distributions
from interp.lens.tuned_streams import streams_at
from interp.models import identity
from interp.models.tokens import to_strings
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos, strings_of


class Trajectory(Result):
    """Axes: layer (the stream that enters that block; the last is the model's output), position, k.

    kl [layer, position]: from the model's own prediction. entropy; surprisal: minus the log-probability of the token
    that follows in the prompt (NaN at the last); all in nats. max_prob: the probability of the most probable token.
    top_ids, top_log_probs [layer, position, k].
    """

    kind: ClassVar[str] = "trajectory"

    def path(self, position: str | int = -1) -> pd.DataFrame:
        """One position layer by layer: most probable token, its probability, entropy, KL and surprisal.

        position: a label, or an index (negative from the end).
        """
        labels = self.values["kl"].axis("position").labels
        index = labels.index(position) if isinstance(position, str) and position in labels else position
        if not isinstance(index, int) or not -len(labels) <= index < len(labels):
            raise InputError(
                f"there is no position {position!r}; the prompt has {len(labels)}: "
                f"{', '.join(repr(label) for label in labels)}"
            )
        rows: dict[str, Any] = {"layer": list(self.values["kl"].axis("layer").labels)}
        rows["token"] = [repr(row[index]) for row in self.texts["top_tokens"]]
        for title, name in (
            ("probability", "max_prob"),
            ("entropy", "entropy"),
            ("KL", "kl"),
            ("surprisal", "surprisal"),
        ):
            rows[title] = self.values[name].data[:, index].tolist()
        return pd.DataFrame(rows)


def trajectory(
    model: Any, prompt: Prompts, lens: TunedLens | None = None, *, top_k: int = 5, prepend_bos: bool = False
) -> Trajectory:
    """How the prediction at every position of one prompt forms; through a tuned lens, or the logit lens without one.

    Raises InputError for several prompts, a lens of another model, and models that cannot be read layer by layer.
    """
    started = datetime.now()
    if lens is not None:
        lens.check(model)
    if top_k < 1:
        raise InputError(f"top_k={top_k} keeps no token; use at least 1")
    prompts = as_prompts(model, prompt, prepend_bos=prepend_bos)
    if len(prompts) != 1:
        raise InputError(f"a trajectory is of one prompt, not of {len(prompts)}; ask for each, or use tuned_lens")
    tokens = prompts.as_subclass(Tensor).cpu()
    length = tokens.shape[1]
    streams = streams_at(model, tokens, torch.arange(length)[None])[:, 0]
    following = torch.cat([tokens[0, 1:], torch.tensor([-1])])
    read = read_distributions(Unembedding.of(model), streams, following, translate=lens, top_k=top_k)
    layers = Axis("layer", tuple(range(len(streams))))
    axes = (layers, Axis("position", position_names(model, prompts, torch.arange(length)[None])))
    k = Axis("k", tuple(range(1, read.top_ids.shape[-1] + 1)))
    values = {
        "kl": Values(read.kl, axes, "nats", "KL(model || layer)"),
        "entropy": Values(read.entropy, axes, "nats"),
        "surprisal": Values(-read.log_prob, axes, "nats", "of the token that follows in the prompt"),
        "max_prob": Values(read.top_log_probs[..., 0].exp(), axes, "probability"),
        "top_ids": Values(read.top_ids, (*axes, k), "token id"),
        "top_log_probs": Values(read.top_log_probs, (*axes, k), "nats"),
    }
    best = to_strings(model, read.top_ids[..., 0].flatten())
    shown = [best[i : i + length] for i in range(0, len(best), length)]
    name = "logit lens" if lens is None else "tuned lens"
    return Trajectory(
        values=values,
        settings={"lens": name, "top_k": top_k, "prepend_bos": has_bos(prompt, prepend_bos)}
        | ({} if lens is None else {"trained": lens_settings(lens)}),
        provenance=provenance(model=identity(model), started=started, **described(prompt)),
        plots=_plots(name, length),
        texts={"tokens": strings_of(model, prompts), "top_tokens": shown},
    )


def _plots(lens: str, length: int) -> tuple[Plot, ...]:
    caveat = TUNED if lens == "tuned lens" else OWN_BASIS
    shown: dict[str, Any] = {"origin": "lower"}
    if length <= MAX_WRITTEN:
        shown["cell_text"] = "top_tokens"
    cells = " In the cells: the most probable token." if length <= MAX_WRITTEN else ""
    what = {
        "kl": "How far each layer's prediction is from the model's",
        "entropy": "How uncertain each layer's prediction is",
        "surprisal": "How improbable each layer finds the token that follows in the prompt",
    }
    titles = {"kl": "KL from the model's prediction", "entropy": "entropy", "surprisal": "surprisal of the next token"}
    return tuple(
        Plot(
            "heatmap",
            name,
            x="position",
            y="layer",
            title=f"{lens.capitalize()}: {titles[name]}",
            caption=f"{words}, through the {lens}; the last layer is the model's output.{cells}",
            caveat=caveat,
            options=shown | {"colour_label": "nats", "colour_range": [0, 12]},
        )
        for name, words in what.items()
    )
