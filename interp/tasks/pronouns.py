"""Gendered pronouns: "So Mary is a really great friend, isn't" -> " she".

Mathwin et al. 2023, "Identifying a Preliminary Circuit for Predicting Gendered Pronouns in GPT-2 Small"; also a task of
Edge Pruning (Bhaskar et al. 2024). The templates and the first ten names of each list are the published ones. What is
measured is which pronoun a model associates with a name, not a fact about anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from interp.errors import InputError, unknown
from interp.tasks.pairs import PromptPairs
from interp.tasks.template_pairs import (
    Drawn,
    check_n,
    fill,
    from_templates,
    in_turn,
    left_out,
    need,
    one_token_words,
)
from interp.tasks.wording import Wording, wording

TEMPLATES = (
    "[So] [name] [is] a really great friend, isn't",
    "[So] [name] [is] such a good cook, isn't",
    "[So] [name] [is] a very good athlete, isn't",
    "[So] [name] [is] a really nice person, isn't",
    "[So] [name] [is] such a funny person, isn't",
)
_HE = """
John David Mark Paul Ryan Gary Jack Sean Carl Joe Michael James Robert William Richard Thomas Charles Daniel Matthew
Anthony Steven Andrew Joshua Kevin Brian George Edward Timothy Jason Jeffrey Jacob Nicholas Eric Jonathan Stephen Larry
Justin Scott Brandon Benjamin Samuel Gregory Patrick Frank Raymond Peter Adam Henry Arthur Roger Bruce Tom Bill Bob
"""
_SHE = """
Mary Lisa Anna Sarah Amy Carol Karen Susan Julie Judy Patricia Jennifer Linda Elizabeth Barbara Jessica Nancy Betty
Margaret Sandra Ashley Emily Donna Michelle Amanda Melissa Deborah Stephanie Rebecca Laura Helen Katherine Christine
Rachel Emma Catherine Maria Heather Diane Julia Ruth Virginia Martha Alice Jane Anne Kate Lucy Rose Sophie Hannah Grace
"""
NAMES = {"he": tuple(_HE.split()), "she": tuple(_SHE.split())}
OTHER = {"he": "she", "she": "he"}
CORRUPTIONS = ("gender", "person")


def gendered_pronoun(
    model: Any,
    n: int = 100,
    seed: int = 0,
    prepend_bos: bool = False,
    *,
    corruption: str = "gender",
    templates: Sequence[int] | None = None,
) -> PromptPairs:
    """Gendered pronouns: answer " he" or " she", distractor the other, roles "name", "is", "end".

    corruption:
        "gender"  a name of the other gender, so the answer flips; the prompts differ at "name" only
        "person"  "That person" for "So <Name>", the neutral baseline of Mathwin et al.: nothing tells the pronoun,
                  and the corrupt logit differences of the two genders cancel by construction

    n: pairs, spread evenly over genders, templates and names; `groups` are "he-0", "she-0" (answer, template index).
    templates: indices into TEMPLATES (default: all five). Names that are not single tokens are left out; `settings`
    has those used and `notes` says what is missing. prepend_bos: off, stored with the task. The same seed gives the
    same clean prompts whatever the corruption. Raises InputError when fewer than two names of a gender are single
    tokens, or a pronoun is not.
    """
    check_n(n)
    if corruption not in CORRUPTIONS:
        raise unknown("corruption", corruption, CORRUPTIONS)
    which = tuple(range(len(TEMPLATES))) if templates is None else tuple(templates)
    if not which or not all(0 <= index < len(TEMPLATES) for index in which):
        raise InputError(f"templates are indices from 0 to {len(TEMPLATES) - 1}, at least one; not {list(which)}")
    words = wording(model, prepend_bos)
    names = {pronoun: one_token_words(words, listed, after="So") for pronoun, listed in NAMES.items()}
    for pronoun, found in names.items():
        need(found, 2, NAMES[pronoun], f"first names for {pronoun!r}")
    return from_templates(
        model,
        words,
        list(_draw(n, seed, {pronoun: tuple(found) for pronoun, found in names.items()}, which, corruption, words)),
        roles=("name", "is"),
        name="gendered_pronoun",
        prepend_bos=prepend_bos,
        seed=seed,
        settings={
            "corruption": corruption,
            "templates": list(which),
            "names": {pronoun: list(found) for pronoun, found in names.items()},
        },
        notes=[note for pronoun in NAMES
               for note in left_out(names[pronoun], NAMES[pronoun], f"first names for {pronoun!r}")],
    )  # fmt: skip


def _draw(
    n: int, seed: int, names: Mapping[str, Sequence[str]], which: Sequence[int], corruption: str, words: Wording
) -> Iterator[Drawn]:
    """`n` pairs: genders in turn, each template for both before the next, names of a gender in turn."""
    generator = torch.Generator().manual_seed(seed)
    template_in_turn = in_turn(which, generator)
    clean_names = {pronoun: in_turn(listed, generator) for pronoun, listed in names.items()}
    corrupt_names = {pronoun: in_turn(listed, generator) for pronoun, listed in names.items()}
    ids = _pronouns(words)
    for i in range(n):
        pronoun = tuple(NAMES)[i % 2]
        if pronoun == "he":
            index = next(template_in_turn)
        name, other = next(clean_names[pronoun]), next(corrupt_names[OTHER[pronoun]])
        flipped = {"So": "So", "name": other} if corruption == "gender" else {"So": "That", "name": "person"}
        yield Drawn(
            fill(TEMPLATES[index], {"So": "So", "name": name, "is": "is"}),
            fill(TEMPLATES[index], {"is": "is", **flipped}),
            [ids[pronoun]],
            [ids[OTHER[pronoun]]],
            group=f"{pronoun}-{index}",
        )


def _pronouns(words: Wording) -> dict[str, int]:
    """The tokens of " he" and " she" after a prompt."""
    ids = one_token_words(words, tuple(NAMES), after="isn't")
    need(ids, 2, tuple(NAMES), "pronouns")
    return ids
