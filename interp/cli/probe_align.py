"""Is there a subspace whose exchange between two prompts exchanges their answers? Distributed alignment search.

Try:
    interp probe align                    number of a subject, one dimension
    interp probe align --quick            less of everything
    interp probe align --rank 4 --layers 10 15 20
    interp probe align --task tense --epochs 20 --pairs 400
    interp probe align --data my.jsonl --answers good=yes bad=no

A basis is trained on pairs of prompts and judged on pairs of others, beside the whole state, the difference of class
means, random subspaces, and a basis trained for arbitrary answers; unrelated text shows the side effects. On
SmolLM2-135M the defaults cost about 4.6 minutes of processor time, --quick (4 passes over 96 pairs) one.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from interp import probing
from interp.cli.answering import answering
from interp.cli.causal_probing import CausalOptions, causal_examples, question, shortened, tell, with_interval
from interp.probing.causal.alignment import LEARNT, MEANS, WHOLE, AlignmentResult
from interp.probing.causal.effects import CONTROLS
from interp.probing.causal.findings import alignment_findings

QUICK_PAIRS, QUICK_EPOCHS = 96, 4


@dataclass(frozen=True)
class Config(CausalOptions):
    """Options of `interp probe align`."""

    rank: int = 1
    """Dimensions of the subspace."""
    pairs: int = 192
    """Training pairs."""
    epochs: int = 8
    """Passes over the training pairs."""


def main(config: Config, console: Console | None = None) -> int:
    """Search a subspace at every layer, print what its exchange does, keep everything in a run."""
    title = f"Is it used? Exchanging {config.data or config.task}"
    config = shortened(config, pairs=QUICK_PAIRS, epochs=QUICK_EPOCHS)
    with answering("probe-align", config, title=title, console=console) as a:
        data = causal_examples(a, config)
        found = a.step_in_parts(
            "alignment",
            lambda parts: probing.align(
                a.model,
                data,
                rank=config.rank,
                n_pairs=config.pairs,
                epochs=config.epochs,
                keep=parts,
                **question(config, a.model),
            ),
        )
        tell(a, found)
        a.show(
            _behaviour(found),
            "share of exchanges after which the model gives the other prompt's class; before: nothing exchanged; "
            "means: the difference of class means; whole: the whole state",
        )
        a.show(
            _beside(found),
            "kept: right within a class; text: KL on unrelated text (nats); training pairs fitted",
        )
        a.conclude(*alignment_findings(found))
    return 0


def _behaviour(found: AlignmentResult) -> pd.DataFrame:
    values = found.values
    random = values["random_accuracy"].data.mean(-1)
    layers = list(values["accuracy"].axis("layer").labels)
    columns = {
        "layer": layers,
        "before": [float(values["unchanged_accuracy"].data)] * len(layers),
        "learnt": with_interval(found, "accuracy", subspace=LEARNT),
        "means": values["accuracy"].sel(subspace=MEANS).data.tolist(),
        "whole": values["accuracy"].sel(subspace=WHOLE).data.tolist(),
        "random": random[0].tolist(),
        "as far": random[1].tolist(),
        "p (as far)": values["p"].sel(control=CONTROLS[1]).data.tolist(),
    }
    return pd.DataFrame(columns)


def _beside(found: AlignmentResult) -> pd.DataFrame:
    values, fitted = found.values, found.values["fitted_accuracy"]
    columns = {
        "layer": list(values["accuracy"].axis("layer").labels),
        "kept": values["kept"].sel(subspace=LEARNT).data.tolist(),
        "text": with_interval(found, "text_kl", subspace=LEARNT),
        "text, whole": values["text_kl"].sel(subspace=WHOLE).data.tolist(),
        **{f"fitted, {name}": fitted.sel(answers=name).data.tolist() for name in fitted.axes[0].labels},
    }
    return pd.DataFrame(columns)
