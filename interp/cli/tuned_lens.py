"""Train a tuned lens: for each layer, a translator with which the model's own unembedding can read it.

Try:
    interp tuned-lens
    interp tuned-lens --n-steps 100 --positions 128
    interp tuned-lens --text my_texts/ --model gpt2
    interp tuned-lens --vocabulary 0         without any estimate, slower

The lens is kept in the run's directory, in lens/, in the layout of the package tuned-lens. A tenth of the documents is
held out, and the lens is evaluated on them at the end. Interrupted, the same command goes on from its last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from rich.console import Console

from interp import lens
from interp.cli.answering import Answer, Options, answering
from interp.cli.fitting import context_of
from interp.cli.tuned_texts import ENGLISH, evaluated, training_texts
from interp.lens import LensTraining, TunedLens
from interp.lens.translators import CONFIG

LENS = "lens"


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp tuned-lens`."""

    text: str = ENGLISH
    """english (presidents' messages), a .txt file, or a folder of them, of which each is one document."""
    n_steps: int = 100
    """Steps of training."""
    context: int = 256
    """Tokens of a context; fewer where the model takes fewer."""
    contexts: int = 4
    """Contexts a step."""
    positions: int = 128
    """Random positions of each context that the lens is trained on."""
    vocabulary: int = 4096
    """Columns of the vocabulary that each step's normaliser is estimated from; 0 for all."""
    learning_rate: float = 1e-3
    """Adam's at the first step; it falls to 0."""
    start: Literal["regression", "identity"] = "regression"
    """regression: of the last stream on each layer's; identity: translators that change nothing."""
    measured: int = 64
    """Contexts that the regression and the coordinates are measured on."""
    bos: bool = False
    """Begin every context with the BOS token."""
    n: int = 32
    """Held-out contexts to evaluate on; 0 for none."""


def main(config: Config, console: Console | None = None) -> int:
    """Train, evaluate on held-out documents, keep the lens and both results in a run."""
    with answering("tuned-lens", config, title=f"Tuned lens of {config.model}", console=console) as a:
        trained = _trained(a, config)
        a.step("training", lambda: lens.learning_curve(a.model, trained))
        if config.n:
            evaluated(
                a, trained, config.text, context=_context(a, config), n=config.n, seed=config.seed, bos=config.bos
            )
        a.say(f"lens:    {a.run.directory / LENS}")
    return 0


def _trained(answer: Answer, config: Config) -> TunedLens:
    directory = answer.run.directory / LENS
    if (directory / CONFIG).exists():
        return TunedLens.load(directory)
    named = {field.name for field in fields(LensTraining)}
    given = {name: value for name, value in vars(config).items() if name in named}
    settings = LensTraining(**given | {"context": _context(answer, config), "prepend_bos": config.bos})
    read = settings.contexts * min(settings.positions, settings.context - 1)
    answer.say(f"{settings.n_steps} steps over {settings.contexts * settings.context} tokens, {read} of them read")
    found = lens.train_tuned_lens(
        answer.model, training_texts(answer.model, config.text, held_out=False), settings, directory=directory
    )
    found.save(directory)
    (directory / "checkpoint.safetensors").unlink(missing_ok=True)  # three times the size of the lens
    return found


def _context(answer: Answer, config: Config) -> int:
    limit = context_of(answer.model)
    return config.context if limit is None else min(config.context, limit)
