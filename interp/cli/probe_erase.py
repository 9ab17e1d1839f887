"""Does the model use what a probe finds? Erase it from the stream of held-out prompts, and see what becomes of answers.

Try:
    interp probe erase                    number of a subject, LEACE and INLP
    interp probe erase --quick            less of everything
    interp probe erase --task tense --layers 5 10 15 --random 50
    interp probe erase --task pos --methods leace
    interp probe erase --task number --position subject
    interp probe erase --data my.jsonl --answers good=yes bad=no

LEACE takes out the least that makes all class means equal; INLP the directions of one probe after another. Beside them
random directions are taken out, as many, and random directions that move states as far; unrelated text shows the side
effects, and probes learnt anew what is left of the property. On SmolLM2-135M the defaults cost about 4 minutes of
processor time, --quick (INLP takes out 4 directions at most) one.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from interp import probing
from interp.cli.answering import answering
from interp.cli.causal_probing import (
    CausalOptions,
    causal_examples,
    effect_title,
    question,
    shortened,
    tell,
    with_interval,
)
from interp.probing.causal.amnesia import AmnesicResult
from interp.probing.causal.effects import CONTROLS
from interp.probing.causal.erasing import BEFORE, MAX_RANK, METHODS
from interp.probing.causal.findings import erasure_findings

QUICK_RANK = 4
RANDOM = "as many random directions; as far: such that move states as far"
ANEW = "accuracy of probes learnt anew"


@dataclass(frozen=True)
class Config(CausalOptions):
    """Options of `interp probe erase`."""

    methods: tuple[str, ...] = tuple(METHODS)
    """leace, inlp."""
    max_rank: int = MAX_RANK
    """Directions that inlp takes out at most."""


def main(config: Config, console: Console | None = None) -> int:
    """Erase at every layer, print effects beside random directions, keep everything in a run."""
    title = f"Is it used? Erasing {config.data or config.task}"
    config = shortened(config, max_rank=QUICK_RANK)
    with answering("probe-erase", config, title=title, console=console) as a:
        data = causal_examples(a, config)
        found = a.step_in_parts(
            "amnesic",
            lambda parts: probing.amnesic(
                a.model, data, methods=config.methods, max_rank=config.max_rank, keep=parts, **question(config, a.model)
            ),
        )
        tell(a, found)
        for method in config.methods:
            name = METHODS[method]
            a.show(_behaviour(found, method), f"{name}: {effect_title(found)}; random: {RANDOM}")
            a.show(_beside(found, method), f"{name}: KL on unrelated text (nats), random: as above; {ANEW}")
        a.conclude(*erasure_findings(found))
    return 0


def _behaviour(found: AmnesicResult, method: str) -> pd.DataFrame:
    values = found.values
    random = values["random_effect"].sel(method=method).data.mean(-1)
    columns = {
        "layer": list(values["effect"].axis("layer").labels),
        "rank": values["rank"].sel(method=method).data.tolist(),
        "effect": [
            text if rank else "nothing to erase"
            for text, rank in zip(
                with_interval(found, "effect", method=method), values["rank"].sel(method=method).data.tolist()
            )
        ],
        "random": random[0].tolist(),
        "as far": random[1].tolist(),
        "p (as far)": values["p"].sel(method=method, control=CONTROLS[1]).data.tolist(),
        **({"still right": values["right"].sel(method=method).data.tolist()} if "right" in values else {}),
    }
    return pd.DataFrame(columns)


def _beside(found: AmnesicResult, method: str) -> pd.DataFrame:
    values, accuracy = found.values, found.values["accuracy"]
    text = values["random_text_kl"].sel(method=method).data.mean(-1)
    columns = {
        "layer": list(values["effect"].axis("layer").labels),
        "text KL": with_interval(found, "text_kl", method=method),
        "random": text[0].tolist(),
        "as far": text[1].tolist(),
        "linear before": accuracy.sel(erased=BEFORE, probe="linear").data.tolist(),
        "after": accuracy.sel(erased=method, probe="linear").data.tolist(),
        "perceptron": accuracy.sel(erased=method, probe="perceptron").data.tolist(),
    }
    return pd.DataFrame(columns)
