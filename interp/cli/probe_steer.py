"""Do answers turn when states are moved along a probe's direction, towards the other class?

Try:
    interp probe steer                        number of a subject, six layers
    interp probe steer --quick                less of everything
    interp probe steer --task tense --strengths 0.5 1 2
    interp probe steer --task truth --probe logistic
    interp probe steer --data my.jsonl --answers good=yes bad=no

Strength 1 is the distance between the class means along the direction; negative strengths move away from the other
class. Beside it states are moved as far along random directions; unrelated text shows the side effects. On SmolLM2-135M
the defaults cost about 4.5 minutes of processor time, --quick one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console

from interp import probing
from interp.cli.answering import answering
from interp.cli.causal_probing import CausalOptions, causal_examples, effect_title, intervals, question, shortened, tell
from interp.probing.causal.findings import steering_findings
from interp.probing.causal.steering import STRENGTHS, SteeringResult


@dataclass(frozen=True)
class Config(CausalOptions):
    """Options of `interp probe steer`."""

    probe: str = "mean_difference"
    """Whose direction: mean_difference or logistic."""
    strengths: tuple[float, ...] = STRENGTHS
    """How far, in distances between the class means."""


def main(config: Config, console: Console | None = None) -> int:
    """Steer at every layer and strength, print effects beside random directions, keep everything in a run."""
    title = f"Is it used? Steering {config.data or config.task}"
    config = shortened(config)
    with answering("probe-steer", config, title=title, console=console) as a:
        data = causal_examples(a, config)
        found = a.step_in_parts(
            "steering",
            lambda parts: probing.steer_along(
                a.model, data, probe=config.probe, strengths=config.strengths, keep=parts, **question(config, a.model)
            ),
        )
        tell(a, found)
        a.show(_table(found, all_columns=False), _title(found), full=_table(found, all_columns=True))
        a.conclude(*steering_findings(found))
    return 0


def _title(found: SteeringResult) -> str:
    """What the columns are, for those that are there."""
    shares = "; turned: share of answers that are the other class's" if "turned" in found.values else ""
    return f"effect: {effect_title(found)}{shares}; text: KL on unrelated text (nats)"


def _table(found: SteeringResult, all_columns: bool) -> pd.DataFrame:
    """A row for every layer and strength. all_columns: also those for which a terminal has no room."""
    values, effect = found.values, found.values["effect"]
    layers, strengths = (effect.axis(name).labels for name in ("layer", "strength"))

    def means(name: str) -> list[float]:
        data = values[name].data
        return (data.mean(-1) if name.startswith("random") else data).flatten().tolist()

    columns: dict[str, Any] = {
        "layer": [layer for layer in layers for _ in strengths],
        "strength": [strength for _ in layers for strength in strengths],
        "effect": [float(f"{mean:.2g}") for mean in means("effect")],
        "95 %": intervals(found, "effect"),
        "random": [float(f"{mean:.2g}") for mean in means("random_effect")],
        "p": means("p"),
        **({"turned": means("turned")} if "turned" in values else {}),
        **({"KL": means("kl")} if "turned" in values and all_columns else {}),
        "text": [float(f"{mean:.2g}") for mean in means("text_kl")],
        **({"text, random": means("random_text_kl")} if all_columns else {}),
    }
    return pd.DataFrame(columns)
