"""One's own labelled words or texts from a file: one JSON object a line.

    {"text": "The cat sat on the mat", "position": "cat", "label": "NOUN", "group": "doc1"}
    {"text": "The cat sat on the mat", "labels": [["cat", "NOUN"], [["the", 1], "DET"]], "group": "doc1"}

text       the prompt
label      the class, any text
position   where the label belongs (default: the last token), as one of
               "cat"         a text that occurs once; its last token
               ["the", 2]    its second occurrence
               3, -1         a token of the text counted from its start or end, a BOS not counted
labels     instead of label and position: several [position, label] of the same text
group      optional: what must not be torn apart between training and test (default: equal texts)
type       optional: the word type, by which control tasks are drawn (default: the token at the position)
"""

from __future__ import annotations

import hashlib
import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.hooks.prompts import prompt_tokens
from interp.probing.labelled import LabelledTokens, labelled_tokens
from interp.tasks.json_lines import object_of, text_of
from interp.tasks.token_tensors import pad_right
from interp.tasks.wording import Wording, wording

REQUIRED = ("text",)
OPTIONAL = ("label", "position", "labels", "group", "type")


def from_jsonl(model: Any, path: str | PathLike[str], *, prepend_bos: bool = False) -> LabelledTokens:
    """Examples from a file with one JSON object a line; the fields are described at the top of this module.

    Empty lines are skipped. Raises InputError with the line number for a line that cannot be used, and for an empty
    file.
    """
    path = Path(path).expanduser()
    words = wording(model, prepend_bos)
    content = text_of(path)
    rows: list[list[int]] = []
    examples: list[tuple[int, int, str, str, str | None]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                given = _parsed(line)
                rows.append(words.prompt(given["text"]))
                examples += [(len(rows) - 1, *found) for found in _examples(given, words)]
            except InputError as problem:
                raise InputError(f"{path.name}, line {number}: {problem}") from None
    if not rows:
        raise InputError(f"{path.name} is empty; write one JSON object a line with text and label")
    tokens = prompt_tokens(pad_right(rows, words.pad_id), lengths=torch.tensor([len(row) for row in rows]))
    index, at, labels, groups, types = (list(column) for column in zip(*examples))
    return labelled_tokens(
        tokens.moved_to(embedding_device(model)),
        labels,
        torch.tensor(at),
        rows=torch.tensor(index),
        groups=groups,
        types=types if all(kind is not None for kind in types) else None,
        name=path.stem,
        settings={
            "file": path.name,
            "file_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "prepend_bos": prepend_bos,
        },
    )


def _examples(given: dict[str, Any], words: Wording) -> list[tuple[int, str, str, str | None]]:
    """(position, label, group, type) of every label of a line."""
    if ("labels" in given) == ("label" in given):
        raise InputError("give either 'label' (with 'position'), or 'labels', a list of [position, label]")
    pairs = given["labels"] if "labels" in given else [[given.get("position", -1), given["label"]]]
    if not isinstance(pairs, list) or not pairs or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise InputError("'labels' must be a list of [position, label]")
    found = []
    for place, label in pairs:
        if not isinstance(label, str) or not label:
            raise InputError(f"a label must be a text, not {json.dumps(label)}")
        at = len(words.bos) + words.locate(given["text"], place, "position")
        found.append((at, label, given.get("group", given["text"]), given.get("type")))
    return found


def _parsed(line: str) -> dict[str, Any]:
    given = object_of(line, REQUIRED, OPTIONAL)
    for name in ("text", "group", "type"):
        if not isinstance(given.get(name, ""), str):
            raise InputError(f"{name!r} must be a text, not {type(given[name]).__name__}")
    return given
