"""Choosing a task on the command line: one of the house's with its options, or a file of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interp import tasks
from interp.cli.answering import Answer, Maybe, Options, Several
from interp.cli.fitting import fitting_length
from interp.errors import InputError, unknown
from interp.models.toy import TOYS
from interp.tasks import PromptPairs

TASKS: dict[str, Callable[..., PromptPairs]] = {
    "ioi": tasks.ioi,
    "induction": tasks.induction,
    "repeated-text": tasks.repeated_text,
    "greater-than": tasks.greater_than,
    "docstring": tasks.docstring,
    "gendered-pronoun": tasks.gendered_pronoun,
    "subject-verb-agreement": tasks.subject_verb_agreement,
    "capital-country": tasks.capital_country,
}
TOY = "toy"
NAMES = (*TASKS, TOY)
WITHOUT_TEXT = ("induction", TOY)
"""Tasks of token ids, which need no tokenizer."""
COMMON = ("model", "n", "seed", "prepend_bos", "texts")
"""What a task's function takes besides its own options; texts of one's own are for Python."""


@dataclass(frozen=True)
class TaskOptions(Options):
    """The options of every command that runs on prompt pairs."""

    task: str = "ioi"
    """ioi, induction, repeated-text, greater-than, docstring, gendered-pronoun, subject-verb-agreement,
    capital-country, toy (for toy/ models), or a .jsonl file of your own prompt pairs."""
    n: int = 16
    """Prompt pairs; of a file the first so many, or all of them with 0."""
    corruption: Maybe[str] = None
    """What the corrupt prompts have changed:
    ioi: abc (three other names; default), s2 (the answer flips), io (it is removed);
    docstring: random_random (default), random_def, random_doc, random_answer;
    gendered-pronoun: gender (default), person."""
    task_options: Several[str] = ()
    """Further options of the task as name=value, several values separated by commas:
    ioi: order (mixed, ABBA, BABA), templates (as 0,3,7);
    induction: length, n_repeats;
    greater-than: variant (auto, two-digit, next-digit);
    gendered-pronoun: templates;
    subject-verb-agreement: structures (simple, across_pp, across_rc, within_rc);
    capital-country: direction (both, capital, country)."""
    multi_token: Maybe[Literal["refuse", "first", "logprob"]] = None
    """Answers of several tokens in a file:
    refuse them (default), keep the first token of each (first), or score the log-probability of all (logprob)."""
    bos: bool = False
    """Begin every prompt with the BOS token."""


@dataclass(frozen=True)
class MetricOptions(TaskOptions):
    """The same, for commands that can score runs by another metric than the task's own."""

    metric: Maybe[str] = None
    """logit_difference, probability_difference, answer_rank, accuracy, loss, kl_to_clean,
    log_probability (which --multi-token logprob chooses); default: the task's own."""


def choose_task(answer: Answer, config: TaskOptions) -> PromptPairs:
    """The task that was asked for, scored by the metric that was asked for; says what there is to know about it.

    Raises InputError for a task, an option or a metric that does not exist or does not suit the model.
    """
    task = _from_file(answer, config) if config.task.endswith(".jsonl") else _of_the_house(answer.model, config)
    for note in task.notes:
        answer.say(f"note: {note}")
    metric = getattr(config, "metric", None)
    if metric is None:
        return task
    return task.with_metric(metric, **({"model": answer.model} if metric == "kl_to_clean" else {}))


def _from_file(answer: Answer, config: TaskOptions) -> PromptPairs:
    if config.corruption or config.task_options:
        raise InputError("--corruption and --task-options are of the built-in tasks; a file brings its corrupt prompts")
    how = config.multi_token or "refuse"
    task = tasks.from_jsonl(answer.model, Path(config.task), prepend_bos=config.bos, multi_token=how)
    if 0 < config.n < len(task):
        answer.say(f"note: the first {config.n} of the {len(task)} pairs in {config.task}; --n 0 takes all")
    return task[: config.n or None]


def _of_the_house(model: Any, config: TaskOptions) -> PromptPairs:
    name = config.task
    if name not in NAMES:
        if Path(name).suffix:
            raise InputError(f"a task file ends in .jsonl, one object a line; {name!r} does not")
        raise unknown("task", name, [*NAMES, "FILE.jsonl"], limit=len(NAMES) + 1)
    if config.multi_token:
        raise InputError("--multi-token is for the answers of a .jsonl file; those of the built-in tasks are one token")
    _check_suits(model, name)
    given = [*config.task_options, *([f"corruption={config.corruption}"] if config.corruption else [])]
    if name == TOY:
        if given or config.bos:
            raise InputError("the toy task has no options: its prompts belong to its model, BOS included")
        return tasks.for_toy(model, n=config.n, seed=config.seed)
    options = own_options(name, given)
    if name == "induction" and "length" not in options:
        options["length"] = fitting_length(model, 50, n_repeats=options.get("n_repeats", 2), bos=config.bos, distinct=2)
    return TASKS[name](model, n=config.n, seed=config.seed, prepend_bos=config.bos, **options)


def _check_suits(model: Any, name: str) -> None:
    if model.tokenizer is None and name not in WITHOUT_TEXT:
        who = str(model.cfg.model_name)
        fix = "use --task toy, the task it was built for" if who in TOYS else "use --task induction, which needs none"
        raise InputError(f"the task {name} is text and {who} has no tokenizer; {fix}")


def own_options(name: str, given: Sequence[str]) -> dict[str, Any]:
    """The options of a task from "name=value", in the types its function takes.

    Raises InputError for an option that the task does not have, or that is given twice or without a value.
    """
    known = {key: of for key, of in inspect.signature(TASKS[name]).parameters.items() if key not in COMMON}
    options: dict[str, Any] = {}
    for item in given:
        key, _, value = item.partition("=")
        key = key.replace("-", "_")
        if key not in known:
            raise unknown(f"option of the task {name}", key, known)
        if not value or key in options:
            raise InputError(f"{item!r} is no option; give each once, as {key}=value")
        options[key] = _in_type(key, value, known)
    return options


def _in_type(key: str, value: str, known: Mapping[str, inspect.Parameter]) -> Any:
    """Text as the type that the parameter is annotated with: text, a number, or a list of either."""
    wanted = str(known[key].annotation)
    items = value.split(",") if "Sequence" in wanted else [value]
    try:
        typed = [int(item) for item in items] if "int" in wanted else items
    except ValueError:
        raise InputError(f"{key}={value} is no number{'s, as in 0,3,7' * ('Sequence' in wanted)}") from None
    return typed if "Sequence" in wanted else typed[0]
