"""Is a tuned lens better than the logit lens? Both on held-out documents; and the directions its predictions hang on.

Try:
    interp tuned-lens evaluate --lens my_lens --n 100
    interp tuned-lens evaluate --lens my_lens --basis 6    the causal basis too

KL: from the model's own prediction. Bias: of the mean prediction. The causal basis: directions which change the lens's
prediction most when they are put to their mean, and whether they change the model's prediction as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from torch import Tensor

from interp import lens
from interp.cli.answering import Answer, Options, Several, answering
from interp.cli.passages import ENGLISH
from interp.cli.tuned_texts import context_length, evaluated, held_out_contexts, load_lens, read_contexts
from interp.lens import CausalBasis, TunedLens
from interp.lens.tuned_causes import basis_layers

BASIS_CONTEXTS = 16
"""Contexts that the causal basis is measured on."""


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Options of `interp tuned-lens evaluate`."""

    lens: str
    """The directory of a lens (config.json, params.safetensors)."""
    text: str = ENGLISH
    """english (presidents' messages; random tokens where the model has no tokenizer), random, a .txt file, or a
    folder of them; the side that training leaves out."""
    n: int = 32
    """Contexts."""
    context: int = 256
    """Tokens of a context; fewer where the model takes fewer."""
    bos: bool = False
    """Begin every context with the BOS token."""
    basis: int = 0
    """Directions of the causal basis of each of --layers; 0 for none, which is quick."""
    layers: Several[int] = ()
    """Layers of the causal basis (default: four, spread out)."""


def main(config: Config, console: Console | None = None) -> int:
    """Evaluate, print a table by layer, keep everything in a run."""
    with answering("tuned-lens-evaluate", config, title=f"Tuned lens of {config.model}", console=console) as a:
        tuned = load_lens(a.model, config.lens)
        length = context_length(a.model, config.context, config.text, config.bos)
        held_out = held_out_contexts(a.model, config.text, length, config.n, seed=config.seed, bos=config.bos)
        contexts = _basis_contexts(a, config, tuned, length) if config.basis else None
        evaluated(a, tuned, held_out, n=config.n, seed=config.seed)
        if contexts is not None:
            found = a.step("basis", lambda: _measured_basis(a, config, tuned, contexts))
            a.show(_basis(found), "causal basis: mean KL when a direction is put to its mean (nats)")
    return 0


def _basis_contexts(answer: Answer, config: Config, tuned: TunedLens, length: int) -> Tensor:
    """What the causal basis is measured on; what cannot be asked is refused before the evaluation."""
    basis_layers(tuned, list(config.layers) or None, config.basis)
    short = context_length(answer.model, min(128, length), config.text, config.bos)
    return read_contexts(
        answer.model, config.text, short, BASIS_CONTEXTS, held_out=True, seed=config.seed, bos=config.bos
    )


def _measured_basis(answer: Answer, config: Config, tuned: TunedLens, contexts: Tensor) -> CausalBasis:
    short = contexts.shape[1]
    return lens.causal_basis(
        answer.model,
        tuned,
        contexts,
        layers=list(config.layers) or None,
        k=config.basis,
        context=short,
        n=BASIS_CONTEXTS,
        positions=min(8, short - 1),
        seed=config.seed,
    )


def _basis(found: CausalBasis) -> pd.DataFrame:
    rows = []
    influence = found.values["influence"]
    for layer in influence.axis("layer").labels:
        here = influence.sel(layer=layer)
        for direction in here.axis("direction").labels:
            if str(direction).startswith("random"):
                continue
            one = here.sel(direction=direction)
            alignment = float(found.values["alignment"].sel(layer=layer, direction=direction).data)
            rows.append((str(layer), str(direction), *one.data.tolist(), alignment))
        random = here.sel(direction=[d for d in here.axis("direction").labels if str(d).startswith("random")])
        rows.append((str(layer), "random", *random.data.mean(0).tolist(), float("nan")))
    return pd.DataFrame(rows, columns=["layer", "direction", "in the lens", "in the model", "alignment"])
