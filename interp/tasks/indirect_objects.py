"""Indirect object identification: "When Mary and John went to the store, John gave a drink to" -> " Mary".

Wang et al. 2022, "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 small", section 2
and appendix A; the templates, names, places and objects are those of the dataset published with the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interp.errors import InputError, unknown
from interp.hooks.partial import embedding_device
from interp.tasks.names import IOI_NAMES, MORE_NAMES
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import from_tokens
from interp.tasks.wording import Wording, wording

# [B] is the subject S, [A] the indirect object IO: this is the order BABA. ABBA swaps the names of the first clause.
TEMPLATES = (
    "Then, [B] and [A] went to the [PLACE]. [B] gave a [OBJECT] to [A]",
    "Then, [B] and [A] had a lot of fun at the [PLACE]. [B] gave a [OBJECT] to [A]",
    "Then, [B] and [A] were working at the [PLACE]. [B] decided to give a [OBJECT] to [A]",
    "Then, [B] and [A] were thinking about going to the [PLACE]. [B] wanted to give a [OBJECT] to [A]",
    "Then, [B] and [A] had a long argument, and afterwards [B] said to [A]",
    "After [B] and [A] went to the [PLACE], [B] gave a [OBJECT] to [A]",
    "When [B] and [A] got a [OBJECT] at the [PLACE], [B] decided to give it to [A]",
    "When [B] and [A] got a [OBJECT] at the [PLACE], [B] decided to give the [OBJECT] to [A]",
    "While [B] and [A] were working at the [PLACE], [B] gave a [OBJECT] to [A]",
    "While [B] and [A] were commuting to the [PLACE], [B] gave a [OBJECT] to [A]",
    "After the lunch, [B] and [A] went to the [PLACE]. [B] gave a [OBJECT] to [A]",
    "Afterwards, [B] and [A] went to the [PLACE]. [B] gave a [OBJECT] to [A]",
    "Then, [B] and [A] had a long argument. Afterwards [B] said to [A]",
    "The [PLACE] [B] and [A] went to had a [OBJECT]. [B] gave it to [A]",
    "Friends [B] and [A] found a [OBJECT] at the [PLACE]. [B] gave it to [A]",
)
PLACES = ("store", "garden", "restaurant", "school", "hospital", "office", "house", "station")
OBJECTS = ("ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack")

ORDERS = {"mixed": ("BABA", "ABBA"), "BABA": ("BABA",), "ABBA": ("ABBA",)}
CORRUPTIONS = {"abc": 5, "s2": 2, "io": 3}  # and how many different names a pair needs
SLOTS = {"BABA": ("S1", "IO", "S2"), "ABBA": ("IO", "S1", "S2")}  # the order in which the names stand


def ioi(
    model: Any,
    n: int = 100,
    seed: int = 0,
    corruption: str = "abc",
    prepend_bos: bool = False,
    *,
    order: str = "mixed",
    templates: Sequence[int] | None = None,
) -> PromptPairs:
    """Indirect object identification: answer IO, distractor S, roles "IO", "S1", "S1+1", "S2", "end".

    corruption, with the names of the three places in the clean prompt being (IO, S, S):
        "abc"  three other names, all different: nothing tells which one follows (the paper's p_ABC)
        "s2"   (IO, S, IO): the second subject is the IO, so the answer becomes S and the logit difference flips
        "io"   (X, S, S): the IO is another name; the duplicate is still S, but the answer is no longer there to copy
    Clean and corrupt have the same template, place, object, length and positions, and differ at those names only.

    n: pairs, spread evenly over templates and orders; `groups` are "BABA-3", "ABBA-3" (order, template index).
    order: "mixed" (half ABBA, half BABA), "ABBA" or "BABA". templates: indices into TEMPLATES (default: all 15).
    The paper's 99 names are used where each is one token of this model's tokenizer, and replaced from a longer list
    where not; `settings` and `notes` say so. prepend_bos: off as in the paper; stored with the task. The same seed
    gives the same clean prompts whatever the corruption. Raises InputError when too few names are single tokens.
    """
    which = _check_choices(n, corruption, order, templates)
    words = wording(model, prepend_bos)
    names = choose_names(words, CORRUPTIONS[corruption])
    prompts = _draw(n, seed, names.used, which, ORDERS[order])
    clean = [words.prompt(prompt.text(prompt.clean)) for prompt in prompts]
    corrupt = [words.prompt(prompt.text(prompt.corrupt(corruption))) for prompt in prompts]
    found = [_name_positions(*pair, names.ids) for pair in zip(prompts, clean, corrupt)]
    task = from_tokens(
        clean,
        corrupt,
        [names.ids[prompt.io] for prompt in prompts],
        [names.ids[prompt.s] for prompt in prompts],
        positions={role: [row[role] for row in found] for role in found[0]},
        groups=[f"{prompt.order}-{prompt.template}" for prompt in prompts],
        pad_id=words.pad_id,
        prepend_bos=prepend_bos,
        name="ioi",
        n_vocab=int(model.cfg.d_vocab),
        seed=seed,
        settings={
            "corruption": corruption,
            "order": order,
            "templates": list(which),
            "names": list(names.used),
            "names_dropped": list(names.dropped),
            "names_added": list(names.added),
        },
        notes=names.notes,
        tokenizer=words.tokenizer,
    )
    return task.to(embedding_device(model))


@dataclass(frozen=True)
class Names:
    """The names that are single tokens here, in the order of drawing, and how the list came about."""

    ids: dict[str, int]
    dropped: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def used(self) -> tuple[str, ...]:
        """The names that are drawn from."""
        return tuple(self.ids)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know about the names: which were dropped, and how many took their place."""
        if not self.dropped:
            return ()
        by = f"{len(self.added)} others took their place" if self.added else "none could be replaced"
        return (
            f"{len(self.dropped)} of the paper's {len(IOI_NAMES)} names are not single tokens here ("
            f"{', '.join(self.dropped[:8])}{', ...' if len(self.dropped) > 8 else ''}); {by}",
        )


def choose_names(words: Wording, n_needed: int) -> Names:
    """The paper's names that are one token after a word, filled up to as many from the longer list.

    Raises InputError when fewer than `n_needed` are left.
    """
    ids: dict[str, int] = {}
    for name in IOI_NAMES + MORE_NAMES:
        token = words.single_token(name, after="When") if len(ids) < len(IOI_NAMES) else None
        if token is not None and token not in ids.values():
            ids[name] = token
    if len(ids) < n_needed:
        raise InputError(
            f"only {len(ids)} of {len(IOI_NAMES) + len(MORE_NAMES)} first names are single tokens of this tokenizer "
            f"and this corruption needs {n_needed}; write your own pairs with interp.tasks.from_jsonl"
        )
    dropped = tuple(name for name in IOI_NAMES if name not in ids)
    return Names(ids, dropped, tuple(name for name in ids if name not in IOI_NAMES))


@dataclass(frozen=True)
class Prompt:
    """What was drawn for one pair: `others` are three names that are neither IO nor S (fewer if there are none)."""

    template: int
    order: str
    place: str
    thing: str
    io: str
    s: str
    others: tuple[str, ...]

    @property
    def clean(self) -> tuple[str, str, str]:
        """The names as IO, S1, S2."""
        return self.io, self.s, self.s

    def corrupt(self, corruption: str) -> tuple[str, str, str]:
        """The names of the corrupt prompt as IO, S1, S2."""
        if corruption == "abc":
            return self.others[0], self.others[1], self.others[2]
        return (self.io, self.s, self.io) if corruption == "s2" else (self.others[0], self.s, self.s)

    def text(self, names: tuple[str, str, str]) -> str:
        """The prompt up to the token before the answer, with these names as IO, S1, S2."""
        io, s1, s2 = names
        first = f"{s1} and {io}" if self.order == "BABA" else f"{io} and {s1}"
        text = TEMPLATES[self.template].removesuffix(" [A]").replace("[B] and [A]", first).replace("[B]", s2)
        return text.replace("[PLACE]", self.place).replace("[OBJECT]", self.thing)


def _draw(n: int, seed: int, names: tuple[str, ...], which: tuple[int, ...], orders: tuple[str, ...]) -> list[Prompt]:
    """`n` prompts: (template, order) in turn, templates in shuffled order; names without replacement in each."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = [which[i] for i in torch.randperm(len(which), generator=generator).tolist()]

    def choice(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    prompts = []
    for i in range(n):
        io, s, *others = (names[j] for j in torch.randperm(len(names), generator=generator)[:5].tolist())
        template = shuffled[(i // len(orders)) % len(shuffled)]
        prompts.append(Prompt(template, orders[i % len(orders)], choice(PLACES), choice(OBJECTS), io, s, tuple(others)))
    return prompts


def _name_positions(prompt: Prompt, clean: list[int], corrupt: list[int], ids: dict[str, int]) -> dict[str, int]:
    """Where the names stand, found among the tokens; refuses a tokenizer that does not keep names apart."""
    io, s = ids[prompt.io], ids[prompt.s]
    at = [position for position, token in enumerate(clean) if token in (io, s)]
    expected = [{"IO": io, "S1": s, "S2": s}[slot] for slot in SLOTS[prompt.order]]
    found = dict(zip(SLOTS[prompt.order], at))
    elsewhere = [a == b for position, (a, b) in enumerate(zip(clean, corrupt)) if position not in at]
    if [clean[position] for position in at] != expected or len(clean) != len(corrupt) or not all(elsewhere):
        raise InputError(
            f"this tokenizer does not keep the names of {prompt.text(prompt.clean)!r} apart from the words around "
            "them; write your own pairs with interp.tasks.from_jsonl"
        )
    return {"IO": found["IO"], "S1": found["S1"], "S1+1": found["S1"] + 1, "S2": found["S2"]}


def _check_choices(n: int, corruption: str, order: str, templates: Sequence[int] | None) -> tuple[int, ...]:
    """The template indices; refuses what there is not."""
    if n < 1:
        raise InputError(f"a task needs at least one pair; n={n}")
    if corruption not in CORRUPTIONS:
        raise unknown("corruption", corruption, CORRUPTIONS)
    if order not in ORDERS:
        raise unknown("order", order, ORDERS)
    which = tuple(range(len(TEMPLATES))) if templates is None else tuple(templates)
    if not which or not all(0 <= index < len(TEMPLATES) for index in which):
        raise InputError(f"templates are indices from 0 to {len(TEMPLATES) - 1}, at least one; not {list(which)}")
    return which
