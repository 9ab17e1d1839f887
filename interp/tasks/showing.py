"""A task as a person reads it: a few of its pairs as text."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from torch import Tensor

from interp.hooks.prompts import PromptTokens

if TYPE_CHECKING:
    from interp.tasks.pairs import PromptPairs

N_SHOWN = 4
COLUMNS = ("group", "clean", "corrupt", "answer", "distractor")


def unpadded(tokens: PromptTokens) -> list[list[int]]:
    """The real token ids of each prompt."""
    return [row[:length] for row, length in zip(tokens.tolist(), tokens.lengths.tolist())]


def decoded(tokenizer: Any, ids: list[int]) -> str:
    """Token ids as text, special tokens included, spaces as they are."""
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def as_text(task: PromptPairs) -> str:
    """A headline and the first pairs, one line a prompt."""
    lines = [_headline(task)]
    for row in _rows(task):
        lines.append(f"  [{row[0]}] {row[1]!r} -> {row[3]} (not {row[4]})")
        lines.append(f"  {' ' * len(row[0])}   corrupt: {row[2]!r}")
    return "\n".join([*lines, *_rest(task), *(f"  note: {note}" for note in task.notes)])


def as_html(task: PromptPairs) -> str:
    """The same as a table; prompts are escaped."""
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(task)
    )
    below = "".join(f"<div>{html.escape(line.strip())}</div>" for line in [*_rest(task), *task.notes])
    title = html.escape(_headline(task))
    return f"<div><b>{title}</b></div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _headline(task: PromptPairs) -> str:
    bos = "with BOS" if task.prepend_bos else "no BOS"
    lengths = f"{int(task.lengths.min())} to {int(task.lengths.max())} tokens"
    return (
        f"{task.name}: {len(task)} pairs, {lengths}, {bos}, scored by {task.metric.name} ({task.metric.unit}); "
        f"roles {', '.join(task.roles)}"
    )


def _rest(task: PromptPairs) -> list[str]:
    return [f"  ... and {len(task) - N_SHOWN} more"] if len(task) > N_SHOWN else []


def _rows(task: PromptPairs) -> list[tuple[str, str, str, str, str]]:
    few = task[:N_SHOWN]
    if few.tokenizer is not None:
        texts = few.texts()
    else:
        sides = (("clean", few.clean), ("corrupt", few.corrupt))
        texts = {side: [" ".join(map(str, row)) for row in unpadded(tokens)] for side, tokens in sides}
    return list(zip(few.groups, texts["clean"], texts["corrupt"], _sets(few, few.answers), _sets(few, few.distractors)))


def _sets(task: PromptPairs, tokens: Tensor) -> list[str]:
    """Token sets as text; at most three tokens of each."""
    name = (lambda token: repr(decoded(task.tokenizer, [token]))) if task.tokenizer else str
    rows = [[token for token in row if token >= 0] for row in tokens.tolist()]
    return [", ".join(map(name, row[:3])) + (", ..." if len(row) > 3 else "") or "-" for row in rows]
