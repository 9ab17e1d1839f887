'''Docstrings: a function's arguments are documented in order, and the next `:param` names the next argument.

Heimersheim and Janiak 2023, "A circuit for Python docstrings in a 4-layer attention-only transformer"; the layout (two
arguments before the three that are documented, one after, none of the others in the docstring) and the corruptions are
those of ACDC (Conmy et al. 2023, appendix). The words are ours.

    def old(self, first, files, page, names, size, read):
        """sector gap population

        :param page: message tree
        :param names: detail mine
        :param                              -> " size"
'''

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from interp.errors import unknown
from interp.tasks.pairs import PromptPairs
from interp.tasks.template_pairs import (
    Drawn,
    Filled,
    check_n,
    fill,
    from_templates,
    in_turn,
    left_out,
    need,
    one_token_words,
)
from interp.tasks.wording import Wording, wording

TEMPLATE = '''
def {}(self, [pre1], [pre2], [A_def], [B_def][B_def+1] [C_def], [post]):
    """{} {} {}

    :param [A_doc]: {} {}
    :param [B_doc]: {} {}
    :param'''
_IDENTIFIERS = """
name data value result line user key path node item url model text version log string field start number index error
context image message event state row object end files form query label run action target array code table source
config first ret update module status group content filename last read command base format color settings order found
count match tag title parent call session token server host date mode project info page header option task shape load
port old resource root size type width height depth total left right output input buffer cache client mask weight list
map next prev callback handler limit offset
"""
_DESCRIBING = """
oil column piece crime population unit dark sector gap tree detail mine price control cost issue process position
course minute research girl age father force matter health street class mind church paper bank century section
building sense staff team language town plan morning product evidence ground letter foot boy game food role land art
support range stage trade voice arm club history account material care record example window air light wife quality
rule story tax nature bed hospital method wall amount bit chapter property son king operation share contract picture
test security future site loss shop animal heart purpose doctor factor hair love music charge design plant fire rest
success region space sea step choice player station film feature cup machine cell energy growth mile risk sound floor
science style hall horse character dog look brother season glass leg park note sun box river stone help seat goal sign
fish library blood culture memory bar star mouth chair earth card bird rock
"""
IDENTIFIERS = tuple(_IDENTIFIERS.split())
DESCRIBING = tuple(_DESCRIBING.split())
"""No word is in both lists."""

ORDER = ("pre1", "pre2", "A", "B", "C", "post", "A'", "B'", "C'", "A''", "B''")  # how names are drawn
# Which names replace those of A_def, B_def, C_def, A_doc, B_doc; a name drawn once stands nowhere else.
CORRUPTIONS = {
    "random_random": {"A_def": "A'", "B_def": "B'", "C_def": "C'", "A_doc": "A''", "B_doc": "B''"},
    "random_def": {"A_def": "A'", "B_def": "B'"},
    "random_doc": {"A_doc": "A''", "B_doc": "B''"},
    "random_answer": {"C_def": "C'"},
}
CLEAN = {
    "pre1": "pre1",
    "pre2": "pre2",
    "A_def": "A",
    "B_def": "B",
    "C_def": "C",
    "post": "post",
    "A_doc": "A",
    "B_doc": "B",
}


def docstring(
    model: Any,
    n: int = 100,
    seed: int = 0,
    prepend_bos: bool = False,
    *,
    corruption: str = "random_random",
) -> PromptPairs:
    """Docstrings: answer C, the argument after the two that are documented; distractors all other arguments.

    corruption, with the definition (A, B, C) and the docstring (A, B) of the clean prompt:
        "random_random"  other names in both, all different: nothing tells which follows (ACDC's default)
        "random_def"     (A', B', C) and (A, B): the documented names are not in the definition, C still is
        "random_doc"     (A, B, C) and (A'', B''): the docstring does not tell how far it has come
        "random_answer"  (A, B, C') and (A, B): another name stands in the answer's place
    Roles: "A_def", "B_def", "B_def+1" (the comma before C), "C_def", "A_doc", "B_doc", "end" (the last "param").

    Distractors are the argument names of the clean and the corrupt prompt except C, as in the paper, whose metric takes
    their largest logit; logit_difference takes their mean, and accuracy the largest. Names and descriptions are words
    that are single tokens here; `settings` and `notes` say which. prepend_bos: off, stored with the task. The same
    seed gives the same clean prompts whatever the corruption. Raises InputError when too few words are single tokens.
    """
    check_n(n)
    if corruption not in CORRUPTIONS:
        raise unknown("corruption", corruption, CORRUPTIONS)
    words = wording(model, prepend_bos)
    names = one_token_words(words, IDENTIFIERS, after="    :param")
    need(names, len(ORDER) + 1, IDENTIFIERS, "argument names")
    described = tuple(one_token_words(words, DESCRIBING, after="    :param name:"))
    need(described, 7, DESCRIBING, "words for descriptions")
    return from_templates(
        model,
        words,
        list(_draw(n, seed, names, described, corruption, words)),
        roles=("A_def", "B_def", "B_def+1", "C_def", "A_doc", "B_doc"),
        name="docstring",
        prepend_bos=prepend_bos,
        seed=seed,
        settings={"corruption": corruption, "names": list(names), "described": list(described)},
        notes=left_out(names, IDENTIFIERS, "argument names") + left_out(described, DESCRIBING, "describing words"),
    )


def _draw(
    n: int, seed: int, names: dict[str, int], described: Sequence[str], corruption: str, words: Wording
) -> Iterator[Drawn]:
    """`n` pairs: in each, twelve different names and seven different describing words."""
    generator = torch.Generator().manual_seed(seed)
    first = _first_words(words, described)
    listed = tuple(names)
    for _ in range(n):
        function, *others = (listed[i] for i in torch.randperm(len(listed), generator=generator)[: len(ORDER) + 1])
        drawn = dict(zip(ORDER, others))
        opening, shuffled = next(in_turn(first, generator)), in_turn(described, generator)
        rest = [word for word in islice(shuffled, 7) if word != opening]
        template = TEMPLATE.format(function, opening, *rest[:6])
        clean = {slot: drawn[name] for slot, name in CLEAN.items()}
        corrupt = {slot: drawn[name] for slot, name in (CLEAN | CORRUPTIONS[corruption]).items()}
        wrong = dict.fromkeys([*clean.values(), *corrupt.values()])
        yield Drawn(
            _filled(template, clean),
            _filled(template, corrupt),
            [names[drawn["C"]]],
            [names[name] for name in wrong if name != drawn["C"]],
            group="all",
        )


def _filled(template: str, names: dict[str, str]) -> Filled:
    return fill(template, {**names, "B_def+1": ","})


def _first_words(words: Wording, described: Sequence[str]) -> Sequence[str]:
    """Words that are one token right after the quotes too, so that all prompts have one length; all, if none is."""
    added = {word: words.continuation('    """', word) for word in described}
    return [word for word, ids in added.items() if ids is not None and len(ids) == 1] or described
