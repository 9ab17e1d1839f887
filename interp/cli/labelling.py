"""Labelled examples on the command line: a task of the house, or a file of one's own."""

from __future__ import annotations

from collections.abc import Sequence

from interp import probing
from interp.cli.answering import Answer
from interp.cli.texts import check_reads_text
from interp.errors import InputError
from interp.probing import LabelledTokens
from interp.probing.splitting import n_contradicted

WITHOUT_TEXT = ("position",)
"""Tasks that are made of random tokens where the model has no tokenizer."""


def chosen_examples(
    answer: Answer,
    task: str,
    data: str | None,
    *,
    usual: str,
    n: int,
    classes: Sequence[str],
    seed: int,
    bos: bool,
    drop_duplicates: bool = False,
) -> LabelledTokens:
    """The examples of a task, or all of the file `data`, of some classes only; says how many there are.

    usual: the task of who names none. drop_duplicates: leave out examples whose tokens up to their position occurred
    before. Raises InputError for a task beside a file, and for text where the model has no tokenizer.
    """
    if data and task != usual:
        raise InputError(f"--task {task} and --data {data} are two sets of examples; give one of them")
    if data or (task in probing.DATASETS and task not in WITHOUT_TEXT):
        check_reads_text(answer.model, f"--task {WITHOUT_TEXT[0]} needs none, and --model smollm2-135m has one")
    if bos:
        check_reads_text(answer.model, "it has no BOS token either: leave --bos out")
    if data:
        found = probing.from_jsonl(answer.model, data, prepend_bos=bos)
    else:
        found = probing.dataset(answer.model, task, n=n, seed=seed, prepend_bos=bos)
    found = found.only(classes) if classes else found
    unique = probing.without_duplicates(found)
    left = unique if drop_duplicates else found
    counts = ", ".join(f"{name} {count}" for name, count in left.counts().items())
    answer.say(f"{len(left)} examples in {len(set(left.groups))} {left.group_is}s: {counts}")
    if contradicted := n_contradicted(found):
        answer.say(
            f"{contradicted} of {len(found)} examples have the tokens of an earlier one and another label, which no "
            "probe can tell apart; correct the labels" + (" (of each the first is kept)" if drop_duplicates else "")
        )
    repeated = len(found) - len(unique)
    if repeated and drop_duplicates:
        answer.say(f"{repeated} examples were dropped, since their tokens occurred before")
    elif repeated:
        answer.say(f"{repeated} of them have tokens that occurred before; --drop-duplicates leaves such examples out")
    return left
