"""What the model would say of each class: the behaviour in which a property of its activations should show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.probing.labelled import LabelledTokens
from interp.tasks.agreement import VERBS
from interp.tasks.wording import wording


@dataclass(frozen=True)
class Answers:
    """Which continuations speak for each class.

    of: class -> words (" are"; a text must be a single token, others are left out) or token ids. after: a text put
    behind every prompt, such as " This statement is"; the prediction is read at the end of the prompt.
    """

    of: Mapping[str, Sequence[str | int]]
    after: str = ""


KNOWN = {
    "number": Answers({"singular": [f" {one}" for one, _ in VERBS], "plural": [f" {many}" for _, many in VERBS]}),
    "tense": Answers({"present": (" is", " has", " does"), "past": (" was", " had", " did")}, after=" and"),
    "truth": Answers({"true": (" true", " True"), "false": (" false", " False")}, after=" This statement is"),
}
"""Tasks of the house in which the model says of which class a prompt is. In the others effects are measured as KL."""


@dataclass(frozen=True, eq=False)
class AnswerTokens:
    """Answers as token ids: columns [answer] of the vocabulary, the class of each, and what stands behind prompts.

    appended, after: the same text as token ids and as it was given.
    """

    columns: Int[Tensor, " answer"]
    classes: Int[Tensor, " answer"]
    appended: tuple[int, ...]
    words: Mapping[str, tuple[str, ...]]
    after: str = ""

    def by_class(self, logits: Float[Tensor, "place answer"], n_classes: int) -> Float[Tensor, "place class"]:
        """Mean logit of the answers of each class."""
        members = torch.nn.functional.one_hot(self.classes, n_classes).to(logits)
        return logits @ (members / members.sum(0).clamp_min(1))


def margins(by_class: Float[Tensor, "place class"], labels: Int[Tensor, " place"]) -> Float[Tensor, " place"]:
    """Logit of each place's own class less the mean logit of the others, in logits."""
    own = by_class.gather(1, labels.to(by_class.device)[:, None])[:, 0]
    return own - (by_class.sum(1) - own) / (by_class.shape[1] - 1)


def answer_tokens(model: Any, data: LabelledTokens, answers: Answers | None) -> AnswerTokens | None:
    """The answers of a task on this model, the task's own where none are given; None where there are none.

    Raises InputError for classes without answers, answers of unknown classes, and words that are no single token.
    """
    given = answers or KNOWN.get(data.name)
    if given is None:
        return None
    for name in given.of:
        if name not in data.classes and answers is not None:
            raise InputError(f"there are answers for {name!r}, and the classes are {', '.join(data.classes)}")
    missing = [name for name in data.classes if not given.of.get(name)]
    if missing:
        raise InputError(f"class {missing[0]!r} has no answers; give at least one word for every class")
    texts = any(isinstance(item, str) for words in given.of.values() for item in words) or bool(given.after)
    words = wording(model, prepend_bos=False) if texts else None
    found: dict[str, dict[int, str]] = {}
    for name in data.classes:
        ids = {}
        for item in given.of[name]:
            token = _token(words, item, given.after)
            if token is not None:
                ids[token] = str(item)
        if not ids:
            shown = ", ".join(repr(item) for item in given.of[name])
            raise InputError(f"none of the answers for {name!r} ({shown}) is a single token of this model; give others")
        found[name] = ids
    shared = set.intersection(*(set(ids) for ids in found.values()))
    if shared:
        raise InputError(f"token {min(shared)} answers for every class; give each class words of its own")
    columns = [token for ids in found.values() for token in ids]
    classes = [i for i, ids in enumerate(found.values()) for _ in ids]
    appended = tuple(words.ids(given.after)) if words is not None and given.after else ()
    spoken = {name: tuple(ids.values()) for name, ids in found.items()}
    return AnswerTokens(torch.tensor(columns), torch.tensor(classes), appended, spoken, given.after)


def _token(words: Any, item: str | int, after: str) -> int | None:
    """The one token that an answer is, behind a text that ends in a word; None where it is several."""
    if isinstance(item, int):
        return item
    ids = words.continuation(after or "The", item)
    return None if ids is None or len(ids) != 1 or words.is_unknown(ids) else ids[0]
