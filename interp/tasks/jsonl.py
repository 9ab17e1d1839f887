"""A user's own task from a file: one JSON object a line.

    {"clean": "The capital of France is", "corrupt": "The capital of Japan is",
     "answer": " Paris", "distractor": " Tokyo", "positions": {"country": "France"}}

clean, corrupt     the prompts; they may differ in length
answer, distractor what follows the prompt, space included, or a list of such strings (a set); distractor may be []
positions          optional: role -> where it is in the clean prompt, as one of
                       "France"        a text that occurs once; its last token is the position
                       ["Mary", 2]     its second occurrence
                       3, -1           a token of the prompt counted from its start or end, a BOS not counted
corrupt_positions  optional, likewise; by default the same tokens where the prompts are equally long, else what
                   `positions` says, looked up in the corrupt prompt
group              optional: a label; means over a reference set are taken within a group

"end", the last token of the prompt, is always a position. Every line must have the same roles.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from interp.errors import InputError, unknown
from interp.hooks.partial import embedding_device
from interp.tasks.json_lines import object_of, text_of
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import from_tokens
from interp.tasks.wording import Wording, wording

MULTI_TOKEN = ("refuse", "first", "logprob")
REQUIRED = ("clean", "corrupt", "answer", "distractor")
OPTIONAL = ("positions", "corrupt_positions", "group")


def from_jsonl(
    model: Any, path: str | PathLike[str], *, prepend_bos: bool = False, multi_token: str = "refuse"
) -> PromptPairs:
    """Pairs from a file with one JSON object a line; the fields are described at the top of this module.

    multi_token: what to do with an answer or distractor of several tokens: "refuse" it; keep its "first" token; or
    "logprob", score the answer by its summed log-probability: its tokens are appended to both prompts, "end" stays the
    last token before them, and the metric is `log_probability` (one answer a line; distractors play no part in it).
    Empty lines are skipped. Raises InputError with the line number for a line that cannot be used, and for an empty
    file; warns about answers that begin without a space after a word.
    """
    if multi_token not in MULTI_TOKEN:
        raise unknown("choice of multi_token", multi_token, MULTI_TOKEN)
    path = Path(path)
    words = wording(model, prepend_bos)
    rows: list[Row] = []
    content = text_of(path)
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(_row(_parse(line), words, multi_token))
                _check_roles(rows)
            except InputError as problem:
                raise InputError(f"{path.name}, line {number}: {problem}") from None
    if not rows:
        raise InputError(f"{path.name} is empty; write one JSON object a line with {', '.join(REQUIRED)}")
    task = from_tokens(
        [row.clean for row in rows],
        [row.corrupt for row in rows],
        [row.answers for row in rows],
        [row.distractors for row in rows],
        positions={role: [row.positions[role] for row in rows] for role in rows[0].positions},
        corrupt_positions={role: [row.corrupt_positions[role] for row in rows] for role in rows[0].positions},
        groups=[row.group for row in rows],
        pad_id=words.pad_id,
        prepend_bos=prepend_bos,
        name=path.stem,
        n_vocab=int(model.cfg.d_vocab),
        settings={
            "corruption": "given",
            "file": path.name,
            "file_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "multi_token": multi_token,
        },
        notes=_notes(rows, multi_token),
        tokenizer=words.tokenizer,
    )
    task = task.with_metric("log_probability") if multi_token == "logprob" else task
    return task.to(embedding_device(model))


@dataclass
class Row:
    """One line in tokens: prompts with BOS (and appended answers), token sets, roles as indices into the prompts."""

    clean: list[int]
    corrupt: list[int]
    answers: list[int]
    distractors: list[int]
    positions: dict[str, int]
    corrupt_positions: dict[str, int]
    group: str
    cut: list[str] = field(default_factory=list)
    spaceless: list[str] = field(default_factory=list)


def _parse(line: str) -> dict[str, Any]:
    """A line as an object whose fields have the right types; answer and distractor become lists."""
    given = object_of(line, REQUIRED, OPTIONAL)
    for name in ("clean", "corrupt", "group"):
        if not isinstance(given.get(name, ""), str):
            raise InputError(f"{name!r} must be a string, not {type(given[name]).__name__}")
    for name in ("answer", "distractor"):
        texts = [given[name]] if isinstance(given[name], str) else given[name]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            raise InputError(f"{name!r} must be a non-empty string or a list of them")
        given[name] = texts
    if not given["answer"]:
        raise InputError("'answer' is an empty list; give at least one answer")
    for name in ("positions", "corrupt_positions"):
        if not isinstance(given.setdefault(name, {}), dict):
            raise InputError(f"{name!r} must be an object from roles to places, not {type(given[name]).__name__}")
        if "end" in given[name]:
            raise InputError(f"{name!r} may not name 'end': it is always the last token of the prompt")
    return given


def _row(given: dict[str, Any], words: Wording, multi_token: str) -> Row:
    clean, corrupt = words.prompt(given["clean"]), words.prompt(given["corrupt"])
    row = Row(clean, corrupt, [], [], {}, {}, given.get("group", "all"))
    answers = [_following(text, given, words, row) for text in given["answer"]]
    distractors = [_following(text, given, words, row) for text in given["distractor"]]
    _locate(given, words, row)
    if multi_token == "refuse":
        for text, ids in zip(given["answer"] + given["distractor"], answers + distractors):
            if len(ids) > 1:
                raise InputError(
                    f"{text!r} is {len(ids)} tokens here{_space_advice(text, given['clean'], words)}; give a single "
                    "token, or choose multi_token='first' or 'logprob'"
                )
    row.cut = [t for t, ids in zip(given["answer"] + given["distractor"], answers + distractors) if len(ids) > 1]
    row.answers = sorted({ids[0] for ids in answers})
    row.distractors = sorted({ids[0] for ids in distractors})
    if multi_token == "logprob":
        if len(answers) != 1:
            raise InputError(f"multi_token='logprob' scores one answer a line; this one has {len(answers)}")
        row.clean, row.corrupt = clean + answers[0], corrupt + answers[0]
        row.distractors = [token for token in row.distractors if token not in row.answers]
    elif set(row.answers) & set(row.distractors):
        raise InputError("an answer and a distractor begin with the same token; choose texts that differ at once")
    return row


def _following(text: str, given: dict[str, Any], words: Wording, row: Row) -> list[int]:
    """The ids of an answer after the prompts; refuses one that merges with them or is unknown."""
    ids = words.continuation(given["clean"], text)
    if not ids or ids != words.continuation(given["corrupt"], text):
        raise InputError(
            f"{text!r} is no continuation of both prompts: it merges with their last words"
            f"{_space_advice(text, given['clean'], words)}"
        )
    if words.is_unknown(ids):
        raise InputError(f"{text!r} is not in this model's vocabulary")
    if text[0].isalnum() and given["clean"][-1:].isalnum():
        row.spaceless.append(text)
    return ids


def _space_advice(text: str, prompt: str, words: Wording) -> str:
    """A hint for the two ways in which the space before an answer goes astray."""
    if prompt != prompt.rstrip():
        return "; the prompt ends with a space, which belongs at the start of the answer"
    if text[0].isspace() or len(words.continuation(prompt, f" {text}") or []) != 1:
        return ""
    return f"; did you mean {f' {text}'!r}, with the space, which is a single token?"


def _locate(given: dict[str, Any], words: Wording, row: Row) -> None:
    """Fill in the row's positions, which count the BOS."""
    n_bos = len(words.bos)
    for role, place in given["positions"].items():
        row.positions[role] = n_bos + words.locate(given["clean"], place, f"position {role!r}")
        if role not in given["corrupt_positions"] and len(row.clean) == len(row.corrupt):
            row.corrupt_positions[role] = row.positions[role]
        else:
            place = given["corrupt_positions"].get(role, place)
            row.corrupt_positions[role] = n_bos + words.locate(given["corrupt"], place, f"corrupt position {role!r}")
    for role in given["corrupt_positions"]:
        if role not in given["positions"]:
            raise unknown("position", role, given["positions"])
    row.positions["end"], row.corrupt_positions["end"] = len(row.clean) - 1, len(row.corrupt) - 1


def _check_roles(rows: list[Row]) -> None:
    first, last = (sorted(rows[i].positions) for i in (0, -1))
    if first != last:
        raise InputError(
            f"its positions are {', '.join(last)}, the first line's {', '.join(first)}; use the same roles"
        )


def _notes(rows: list[Row], multi_token: str) -> list[str]:
    """What a reader of the results should know; the warning is given here, once a file."""
    notes = []
    cut = [text for row in rows for text in row.cut]
    if cut and multi_token == "first":
        notes.append(f"{len(cut)} answers or distractors were cut to their first token, e.g. {cut[0]!r}")
    spaceless = [text for row in rows for text in row.spaceless]
    if spaceless:
        notes.append(f"{len(spaceless)} answers or distractors follow a word without a space, e.g. {spaceless[0]!r}")
        warnings.warn(f"{notes[-1]}; begin them with a space if they are words of their own", stacklevel=3)
    return notes
