"""Docstring prompts are functions a parser can read; corruptions take away what they say they take away."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from tokenizers import pre_tokenizers

from interp.errors import InputError
from interp.tasks import PromptPairs, docstring
from interp.tasks.docstrings import CORRUPTIONS, DESCRIBING, IDENTIFIERS, TEMPLATE
from tests.tasks.conftest import tiny_model, word_tokenizer
from tests.tasks.lining_up import at, check_lined_up, check_seeds, sets
from tests.tasks.space_tokenizer import space_model

PUNCTUATION = [w for w, _ in pre_tokenizers.Whitespace().pre_tokenize_str(re.sub(r"\[[^]]*\]|{}", "x", TEMPLATE))]
PUNCTUATION += ["(", ",", ":", "):", '"""', "def", "self", "param"]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(word_tokenizer([*PUNCTUATION, *IDENTIFIERS, *DESCRIBING]))


@pytest.fixture(scope="module")
def spaced() -> Any:
    """Keeps spaces and line ends, so that its prompts are text again."""
    return space_model(IDENTIFIERS[:40] + DESCRIBING[:20])


def arguments(text: str) -> tuple[list[str], list[str]]:
    """The arguments of the function, and those that its docstring documents."""
    function = ast.parse(text + ' x: y\n    """\n').body[0]
    assert isinstance(function, ast.FunctionDef)
    documented = re.findall(r":param (\w+):", ast.get_docstring(function) or "")
    assert documented.pop() == "x"
    return [argument.arg for argument in function.args.args][1:], documented


def test_the_lists() -> None:
    assert len(set(IDENTIFIERS)) == len(IDENTIFIERS) > 100
    assert len(set(DESCRIBING)) == len(DESCRIBING) > 150
    assert not set(IDENTIFIERS) & set(DESCRIBING)
    assert all(name.isidentifier() for name in IDENTIFIERS)


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_python_agrees(spaced: Any, prepend_bos: bool) -> None:
    """Parse the clean prompts: six arguments, the third and fourth documented, the fifth the answer."""
    task = docstring(spaced, n=10, prepend_bos=prepend_bos)
    assert task.roles == ("A_def", "B_def", "B_def+1", "C_def", "A_doc", "B_doc", "end")
    for i, text in enumerate(task.texts()["clean"]):
        given, documented = arguments(text.removeprefix("<bos>"))
        assert len(set(given)) == 6
        assert documented == given[2:4]
        assert sets(task)[i] == [f" {given[4]}"]
        assert text.endswith("\n    :param")
        for role, name in zip(task.roles, (*given[2:4], "", given[4], *documented)):
            assert at(task, role)[i] == (f" {name}" if name else ",")
        # Each role is at its own place: definition before docstring.
        row = [int(task.positions[role][i]) for role in task.roles]
        assert row == sorted(set(row))
        assert row[2] == row[1] + 1


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_corruptions(spaced: Any, model: Any, corruption: str) -> None:
    changed = tuple(CORRUPTIONS[corruption])
    task = docstring(spaced, n=12, corruption=corruption)
    check_lined_up(task, changed)
    for i, sides in enumerate(zip(*task.texts().values())):
        (given, documented), (other, other_documented) = (arguments(text) for text in sides)
        assert (other[:2], other[5]) == (given[:2], given[5])
        kept = {
            "random_def": other[4] == given[4] and other_documented == documented,
            "random_doc": other == given,
            "random_answer": other[:4] == given[:4] and other_documented == documented,
            "random_random": True,
        }
        assert kept[corruption]
        new = set(other + other_documented) - set(given)
        assert len(new) == len(changed)  # different names, all of them new
        assert {name.strip() for name in sets(task, "distractors")[i]} == (set(given) | new) - {given[4]}
    words = docstring(model, n=12, corruption=corruption)
    check_lined_up(words, changed)
    assert at(words, "C_def") == [answer for (answer,) in sets(words)]


def test_one_length_and_seeds(model: Any) -> None:
    task = docstring(model, n=30)
    assert task.equal_lengths
    assert set(task.groups) == {"all"}
    assert task.notes == ()
    assert len({tuple(row) for row in sets(task)}) > 15
    check_seeds(docstring, model)
    other = docstring(model, n=30, corruption="random_doc")
    assert other.texts()["clean"] == task.texts()["clean"]


def test_the_first_word_stands_right_after_the_quotes() -> None:
    """A word that is one token without its space too is preferred there, so that lengths stay equal."""
    words = [*IDENTIFIERS[:40], *DESCRIBING[:20]]
    one_piece = DESCRIBING[3]
    merges = [(one_piece[:i], one_piece[i]) for i in range(1, len(one_piece))]
    task = docstring(space_model(words, merges), n=8)
    assert task.equal_lengths
    assert all(f'"""{one_piece} ' in text for text in task.texts()["clean"])


def _names(task: PromptPairs) -> set[str]:
    return {name for role in ("A_def", "B_def", "C_def") for name in at(task, role)}


def test_left_out_and_refused(model: Any) -> None:
    few = docstring(tiny_model(word_tokenizer([*PUNCTUATION, *IDENTIFIERS[:12], *DESCRIBING])), n=20)
    assert _names(few) <= set(IDENTIFIERS[:12])
    assert f"{len(IDENTIFIERS) - 12} of {len(IDENTIFIERS)} argument names" in few.notes[0]
    with pytest.raises(InputError, match=r"only 11 of .* argument names .* needs 12"):
        docstring(tiny_model(word_tokenizer([*PUNCTUATION, *IDENTIFIERS[:11], *DESCRIBING])))
    with pytest.raises(InputError, match=r"only 6 of .* words for descriptions .* needs 7"):
        docstring(tiny_model(word_tokenizer([*PUNCTUATION, *IDENTIFIERS, *DESCRIBING[:6]])))
    for options, message in (({"n": 0}, "at least one pair"), ({"corruption": "random"}, "no corruption 'random'")):
        with pytest.raises(InputError, match=message):
            docstring(model, **options)
