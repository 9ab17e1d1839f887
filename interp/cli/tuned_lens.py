"""Train a tuned lens: for each layer, a translator with which the model's own unembedding can read it.

Try:
    interp tuned-lens
    interp tuned-lens --n-steps 300          better, and longer
    interp tuned-lens --text my_texts/ --model gpt2
    interp tuned-lens --vocabulary 0         without any estimate, slower
    interp tuned-lens --model toy/induction  on random tokens

The lens is kept in the run's directory, in lens/, in the layout of the package tuned-lens. A tenth of the documents is
held out, and the lens is evaluated on them at the end. Interrupted, the same command goes on from its last checkpoint.
At its defaults it takes about eight minutes of processor time for SmolLM2-135M: eight seconds a step, and three minutes
before and after them. The KL still falls then; more --n-steps make a better lens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from rich.console import Console

from interp import lens
from interp.cli.answering import Answer, Options, answering
from interp.cli.passages import ENGLISH
from interp.cli.tuned_texts import context_length, described_texts, evaluated, held_out_contexts, read_contexts
from interp.errors import InputError
from interp.lens import LensTraining, TunedLens
from interp.lens.translators import CONFIG

LENS = "lens"
USUAL = LensTraining()
EVERY = 10
"""Steps between checkpoints."""


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp tuned-lens`."""

    text: str = ENGLISH
    """english (presidents' messages; random tokens where the model has no tokenizer), random, a .txt file, or a
    folder of them, of which each is one document."""
    n_steps: int = USUAL.n_steps
    """Steps of training."""
    context: int = USUAL.context
    """Tokens of a context; fewer where the model takes fewer."""
    contexts: int = USUAL.contexts
    """Contexts a step."""
    positions: int = USUAL.positions
    """Random positions of each context that the lens is trained on."""
    vocabulary: int = USUAL.vocabulary
    """Columns of the vocabulary that each step's normaliser is estimated from; 0 for all."""
    learning_rate: float = USUAL.learning_rate
    """Adam's at the first step; it falls to 0."""
    start: Literal["regression", "identity"] = "regression"
    """regression: of the last stream on each layer's; identity: translators that change nothing."""
    measured: int = USUAL.measured
    """Contexts that the regression and the coordinates are measured on; their tokens should be several times the
    width of the model's residual stream."""
    checked: int = USUAL.checked
    """Contexts held out of the training: every layer keeps the translator that is best on them."""
    bos: bool = False
    """Begin every context with the BOS token."""
    n: int = 32
    """Held-out contexts to evaluate on; 0 for none."""


def main(config: Config, console: Console | None = None) -> int:
    """Train, evaluate on held-out contexts, keep the lens and both results in a run."""
    with answering("tuned-lens", config, title=f"Tuned lens of {config.model}", console=console) as a:
        length = context_length(a.model, config.context, config.text, config.bos)
        settings = _settings(config, length)
        how: dict[str, Any] = {"seed": config.seed, "bos": config.bos}
        # All that can be refused is refused before the training, which takes minutes.
        held_out = held_out_contexts(a.model, config.text, length, config.n, **how) if config.n else None
        trained = _trained(a, config, settings)
        a.step("training", lambda: lens.learning_curve(a.model, trained))
        if held_out is not None:
            evaluated(a, trained, held_out, n=config.n, seed=config.seed)
        a.say(f"lens:    {a.run.directory / LENS}")
    return 0


def _settings(config: Config, length: int) -> LensTraining:
    named = {field.name for field in fields(LensTraining)}
    given = {name: value for name, value in vars(config).items() if name in named}
    if config.n_steps < 1:  # in Python 0 is a lens that is only begun; here it has no curve to show
        raise InputError(f"n_steps={config.n_steps} trains nothing; use at least 1")
    return LensTraining(**given | {"context": length, "prepend_bos": config.bos})


def _trained(answer: Answer, config: Config, settings: LensTraining) -> TunedLens:
    directory = answer.run.directory / LENS
    if (directory / CONFIG).exists():
        return TunedLens.load(directory)
    model, length = answer.model, settings.context
    contexts = read_contexts(
        model, config.text, length, settings.n_contexts, held_out=False, seed=config.seed, bos=config.bos
    )
    read = settings.contexts * min(settings.positions, length - 1)
    answer.say(
        f"{settings.n_steps} steps over {settings.contexts * length} tokens each, {read} of them read, out of "
        f"{described_texts(model, config.text)}"
    )
    found = lens.train_tuned_lens(model, contexts, settings, directory=directory, every=EVERY)
    found.save(directory)
    (directory / "checkpoint.safetensors").unlink(missing_ok=True)  # five times the size of the lens
    return found
