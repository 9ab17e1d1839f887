"""Do answers turn when states are moved along a probe's direction, towards the other class?

Try:
    interp probe steer                        number of a subject, six layers
    interp probe steer --task tense --strengths 0.5 1 2
    interp probe steer --task truth --probe logistic
    interp probe steer --data my.jsonl --answers good=yes bad=no

Strength 1 is the distance between the class means along the direction; negative strengths move away from the other
class. Beside it states are moved as far along random directions; unrelated text shows the side effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from interp import probing
from interp.cli.answering import answering
from interp.cli.causal_probing import CausalOptions, causal_examples, question, tell, with_interval
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
    with answering("probe-steer", config, title=title, console=console) as a:
        data = causal_examples(a, config)
        found = a.step(
            "steering",
            lambda: probing.steer_along(
                a.model, data, probe=config.probe, strengths=config.strengths, **question(config)
            ),
        )
        tell(a, found)
        unit = found.values["effect"].unit
        for strength in found.values["effect"].axis("strength").labels:
            a.show(
                _by_layer(found, str(strength)),
                f"strength {strength}: effect on answers ({unit}), share that turned, KL on unrelated text (nats)",
            )
    return 0


def _by_layer(found: SteeringResult, strength: str) -> pd.DataFrame:
    values = found.values
    columns = {
        "layer": list(values["effect"].axis("layer").labels),
        "effect": with_interval(found, "effect", strength=strength),
        "random": values["random_effect"].sel(strength=strength).data.mean(-1).tolist(),
        "p": values["p"].sel(strength=strength).data.tolist(),
        **({"turned": values["turned"].sel(strength=strength).data.tolist()} if "turned" in values else {}),
        "KL": values["kl"].sel(strength=strength).data.tolist(),
        "text KL": values["text_kl"].sel(strength=strength).data.tolist(),
        "random, text": values["random_text_kl"].sel(strength=strength).data.mean(-1).tolist(),
    }
    return pd.DataFrame(columns)
