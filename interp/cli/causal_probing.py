"""What the causal tests of probes share on the command line: examples, the question, answers of one's own, notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from interp.cli.answering import Answer, Maybe, Options, Several
from interp.cli.labelling import chosen_examples
from interp.cli.texts import check_reads_text
from interp.errors import InputError
from interp.probing import Answers, LabelledTokens
from interp.probing.causal.places import ENGLISH, RANDOM
from interp.probing.causal.preparing import spread
from interp.results import Result
from interp.viz.theme import interval, number


@dataclass(frozen=True)
class CausalOptions(Options):
    """Options of `interp probe erase`, `steer` and `align`."""

    task: str = "number"
    """number, tense and truth have answers by which the model says a class; in pos, entity,
    position and next_token effects are measured as KL divergence."""
    data: Maybe[str] = None
    """A .jsonl file of labelled texts, instead of a task (see interp probe --help)."""
    n: int = 1200
    """Examples of a task; of a file all are used."""
    test: int = 120
    """Held-out examples that are run, and tokens of unrelated text, as many."""
    layers: Several[int] = ()
    """Layers (default: six, spread out)."""
    site: str = "resid_post"
    """What is changed: resid_post, attn_out, mlp_out, ..."""
    position: Maybe[str] = None
    """Which named position of the examples (default: the last)."""
    classes: Several[str] = ()
    """Only these classes (default: all)."""
    drop_duplicates: bool = False
    """Leave out examples whose tokens up to their position occurred before."""
    answers: Several[str] = ()
    """Answers of one's own, as class=word,word for every class; each word a single token."""
    after: str = ""
    """With --answers: a text put behind every prompt, such as " This is"."""
    random: int = 20
    """Draws of each random control; the least p value is 1 / (draws + 1)."""
    text: str = "english"
    """Unrelated text: english (presidents' messages), random tokens, a .txt file or a folder."""
    bos: bool = False
    """Begin every prompt with the BOS token."""
    quick: bool = False
    """Less of everything: three layers, at most 600 examples of a task, 48 of them run, 10 random draws."""


C = TypeVar("C", bound=CausalOptions)


def shortened(config: C, **more: int) -> C:
    """With --quick less of everything, never more than was asked for; more: what a command has besides."""
    if not config.quick:
        return config
    most = {"n": 600, "test": 48, "random": 10} | more
    return replace(config, **{name: min(getattr(config, name), value) for name, value in most.items()})


def causal_examples(answer: Answer, config: CausalOptions) -> LabelledTokens:
    """The examples that were asked for; says how many there are."""
    return chosen_examples(
        answer,
        config.task,
        config.data,
        usual=CausalOptions.task,
        n=config.n,
        classes=config.classes,
        seed=config.seed,
        bos=config.bos,
        drop_duplicates=config.drop_duplicates,
    )


def question(config: CausalOptions, model: Any) -> dict[str, Any]:
    """The keyword arguments of `probing.amnesic` and its siblings that options decide.

    Raises InputError for answers and a text of one's own where the model has no tokenizer.
    """
    if config.answers:
        check_reads_text(model, "leave --answers out, and effects are measured as KL divergence")
    if config.text not in (ENGLISH, RANDOM):
        check_reads_text(model, f"use --text {RANDOM}")
    few = tuple(spread(int(model.cfg.n_layers))[1::2]) if config.quick else None
    return {
        "site": config.site,
        "layers": config.layers or few,
        "position": config.position,
        "answers": given_answers(config.answers, config.after),
        "n_test": config.test,
        "text": config.text,
        "seed": config.seed,
        "n_random": config.random,
    }


def given_answers(given: Sequence[str], after: str) -> Answers | None:
    """Answers out of "class=word,word"; a word gets the space that begins it.

    Raises InputError for what is not of that form.
    """
    if not given:
        if after:
            raise InputError("--after is for answers of one's own; give --answers class=word,word too")
        return None
    found: dict[str, tuple[str, ...]] = {}
    for item in given:
        name, _, words = item.partition("=")
        chosen = tuple(f" {word.strip()}" for word in words.split(",") if word.strip())
        if not name or not chosen or name in found:
            raise InputError(f"{item!r} is no answer; give each class once, as in singular=is,was plural=are,were")
        found[name] = chosen
    return Answers(found, after)


def tell(answer: Answer, result: Result, what: str = "") -> None:
    """Say what the unchanged model does, and the notes."""
    values, settings = result.values, result.settings
    if settings["answers"]:
        shown = "; ".join(f"{name}:{','.join(words)}" for name, words in settings["answers"].items())
        right = number(float(values["unchanged_right"].data))
        margin = number(float(values["unchanged_margin"].data))
        answer.say(f"answers {shown}")
        answer.say(f"left alone, the model prefers the right answer in {right} of the examples, by {margin} logits")
    for note in settings["notes"]:
        answer.say(f"note: {note}")


def effect_title(result: Result) -> str:
    """What the column "effect" of a table is."""
    if result.values["effect"].unit == "logits":
        return "fall of the margin of the right answers (logits)"
    return "KL from the unchanged prediction (nats)"


def with_interval(result: Result, name: str, **where: Any) -> list[str]:
    """A mean with its interval along what is left of an axis, as text."""
    means = [number(mean, 2) for mean in result.values[name].sel(**where).data.flatten().tolist()]
    return [f"{mean} {between}".rstrip() for mean, between in zip(means, intervals(result, name, **where))]


def intervals(result: Result, name: str, **where: Any) -> list[str]:
    """The intervals of means along what is left of their axes, as text."""
    low, high = (result.values[name + end].sel(**where).data.flatten().tolist() for end in ("_low", "_high"))
    return [interval(*ends, 2) for ends in zip(low, high)]
