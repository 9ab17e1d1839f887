"""IOI prompts are the paper's: wording, roles, corruptions, balance, names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.tasks import ioi
from interp.tasks.indirect_objects import OBJECTS, PLACES, TEMPLATES
from interp.tasks.names import IOI_NAMES, MORE_NAMES
from interp.tasks.pairs import PromptPairs


def words_at(task: PromptPairs, role: str, *, corrupt: bool = False) -> list[str]:
    tokens, positions = (task.corrupt, task.corrupt_positions) if corrupt else (task.clean, task.positions)
    return [task.tokenizer.decode([int(tokens[i, int(positions[role][i])])]) for i in range(len(task))]


def test_the_published_lists() -> None:
    assert (len(TEMPLATES), len(IOI_NAMES), len(PLACES), len(OBJECTS)) == (15, 99, 8, 8)
    assert len(set(IOI_NAMES)) == 99
    assert len(set(MORE_NAMES)) == len(MORE_NAMES) >= 300
    assert not set(MORE_NAMES) & set(IOI_NAMES)
    for template in TEMPLATES:
        assert template.count("[B] and [A]") == 1
        assert template.count("[B]") == 2
        assert template.count("[A]") == 2
        assert template.endswith(" [A]")


@pytest.mark.parametrize("prepend_bos", [False, True])
@pytest.mark.parametrize("order", ["BABA", "ABBA"])
def test_prompts_read_as_in_the_paper(word_model: Any, order: str, prepend_bos: bool) -> None:
    """Rebuild every prompt from its roles alone and compare with the tokens."""
    task = ioi(word_model, n=30, order=order, prepend_bos=prepend_bos)
    tokenizer = task.tokenizer
    for i in range(len(task)):
        io, s = words_at(task, "IO")[i], words_at(task, "S2")[i]
        index = int(task.groups[i].split("-")[1])
        text = tokenizer.decode([t for t in task.clean[i, : int(task.lengths[i])].tolist() if t > 3])
        place = next((place for place in PLACES if place in text.split()), "")
        thing = next((thing for thing in OBJECTS if thing in text.split()), "")
        first = (s, io) if order == "BABA" else (io, s)
        expected = TEMPLATES[index].replace("[B]", "[X]", 1).replace("[A]", "[Y]", 1)
        expected = expected.replace("[X]", first[0]).replace("[Y]", first[1]).replace("[B]", s)
        expected = expected.replace("[PLACE]", place).replace("[OBJECT]", thing).removesuffix("[A]")
        ids = tokenizer(expected, add_special_tokens=False)["input_ids"]
        assert task.clean[i, : int(task.lengths[i])].tolist() == [tokenizer.bos_token_id] * prepend_bos + ids
        assert tokenizer.decode(task.answers[i]) == io
        assert tokenizer.decode(task.distractors[i]) == s


def test_roles_stand_where_they_should(word_model: Any) -> None:
    task = ioi(word_model, n=60, prepend_bos=True)
    assert task.roles == ("IO", "S1", "S1+1", "S2", "end")
    answers = [task.tokenizer.decode(row) for row in task.answers]
    distractors = [task.tokenizer.decode(row) for row in task.distractors]
    assert words_at(task, "IO") == answers
    assert words_at(task, "S1") == words_at(task, "S2") == distractors
    assert bool((task.positions["S1+1"] == task.positions["S1"] + 1).all())
    assert bool((task.positions["end"] == task.lengths - 1).all())
    assert set(words_at(task, "end")) == {"to"}
    io_first = task.positions["IO"] < task.positions["S1"]
    assert io_first.tolist() == [group.startswith("ABBA") for group in task.groups]
    assert bool((task.clean[:, 0].as_subclass(Tensor) == task.tokenizer.bos_token_id).all())
    assert all(word == "and" for word, abba in zip(words_at(task, "S1+1"), io_first.tolist()) if not abba)


def test_abc_replaces_every_name_by_another(word_model: Any) -> None:
    task = ioi(word_model, n=90, corruption="abc")
    for names in zip(*(words_at(task, role, corrupt=True) for role in ("IO", "S1", "S2"))):
        assert len(set(names)) == 3
    for i, clean in enumerate(zip(words_at(task, "IO"), words_at(task, "S1"))):
        others = {words_at(task[i], role, corrupt=True)[0] for role in ("IO", "S1", "S2")}
        assert not others & set(clean)


def test_s2_flip_names_the_io_again(word_model: Any) -> None:
    task = ioi(word_model, n=30, corruption="s2")
    assert words_at(task, "S2", corrupt=True) == words_at(task, "IO") == words_at(task, "IO", corrupt=True)
    assert words_at(task, "S1", corrupt=True) == words_at(task, "S1")
    assert task.divergence.tolist() == task.positions["S2"].tolist()


def test_io_flip_takes_the_answer_away(word_model: Any) -> None:
    task = ioi(word_model, n=30, corruption="io")
    assert words_at(task, "S1", corrupt=True) == words_at(task, "S2", corrupt=True) == words_at(task, "S1")
    assert all(new not in (io, s) for new, io, s in zip(*_io_and_new(task)))
    assert task.divergence.tolist() == task.positions["IO"].tolist()


def _io_and_new(task: PromptPairs) -> tuple[list[str], list[str], list[str]]:
    return words_at(task, "IO", corrupt=True), words_at(task, "IO"), words_at(task, "S1")


@pytest.mark.parametrize(("corruption", "changed"), [("abc", ("IO", "S1", "S2")), ("s2", ("S2",)), ("io", ("IO",))])
def test_pairs_differ_at_the_names_only(word_model: Any, corruption: str, changed: tuple[str, ...]) -> None:
    task = ioi(word_model, n=30, corruption=corruption)
    assert task.aligned
    assert task.settings["corruption"] == corruption
    for i in range(len(task)):
        differ = (task.clean[i] != task.corrupt[i]).nonzero()[:, 0].tolist()
        assert differ == sorted(int(task.positions[role][i]) for role in changed)


def test_groups_are_balanced_and_shuffled(word_model: Any) -> None:
    task = ioi(word_model, n=100)
    counts = Counter(task.groups)
    assert len(counts) == 30
    assert set(counts.values()) == {3, 4}
    assert sum(group.startswith("ABBA") for group in task.groups) == 50
    assert len(set(ioi(word_model, n=8).groups)) == 8
    assert set(ioi(word_model, n=7, order="ABBA", templates=[2, 5]).groups) == {"ABBA-2", "ABBA-5"}


def test_one_template_gives_equal_lengths(word_model: Any) -> None:
    assert ioi(word_model, n=10, templates=[0]).equal_lengths
    assert not ioi(word_model, n=60).equal_lengths


def test_seeds(word_model: Any) -> None:
    state = torch.random.get_rng_state()
    a, b, c = (ioi(word_model, n=20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert a.describe() == b.describe()
    assert a.describe()["sha256"] != c.describe()["sha256"]
    flipped = ioi(word_model, n=20, seed=1, corruption="s2")
    assert flipped.describe()["sha256"]["clean"] == a.describe()["sha256"]["clean"]


def test_the_papers_names_are_used_where_they_can_be(word_model: Any) -> None:
    task = ioi(word_model, n=10)
    assert tuple(task.settings["names"]) == IOI_NAMES
    assert task.settings["names_dropped"] == task.settings["names_added"] == []
    assert task.notes == ()


def test_unknown_and_split_names_are_replaced_and_reported(
    make_word_model: Callable[..., Any], byte_model: Any
) -> None:
    task = ioi(make_word_model(names=IOI_NAMES[5:] + MORE_NAMES[:3]), n=10)
    assert tuple(task.settings["names"]) == IOI_NAMES[5:] + MORE_NAMES[:3]
    assert task.settings["names_dropped"] == list(IOI_NAMES[:5])
    assert task.settings["names_added"] == list(MORE_NAMES[:3])
    assert task.notes[0].startswith("5 of the paper's 99 names are not single tokens here (Michael, ")
    task = ioi(byte_model, n=30)
    assert {"Mary", "John"} <= set(task.settings["names"])
    assert "Michael" in task.settings["names_dropped"]
    assert bool((task.answers >= 0).all())
    for word, answer in zip(words_at(task, "IO"), task.answers[:, 0].tolist()):
        assert word == task.tokenizer.decode([answer])
        assert word.startswith(" ")


@pytest.mark.parametrize(("corruption", "n_needed"), [("abc", 5), ("io", 3), ("s2", 2)])
def test_too_few_names(make_word_model: Callable[..., Any], corruption: str, n_needed: int) -> None:
    enough = make_word_model(names=IOI_NAMES[:n_needed])
    assert len(ioi(enough, n=4, corruption=corruption)) == 4
    with pytest.raises(InputError, match=f"only {n_needed - 1} of .* needs {n_needed}"):
        ioi(make_word_model(names=IOI_NAMES[: n_needed - 1]), n=4, corruption=corruption)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "at least one pair"),
        ({"corruption": "ABC"}, "no corruption 'ABC'"),
        ({"order": "BAAB"}, "no order 'BAAB'"),
        ({"templates": [15]}, "from 0 to 14"),
        ({"templates": []}, "at least one"),
    ],
)
def test_refusals(word_model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ioi(word_model, **options)


def test_models_without_tokenizer_or_with_short_context(make_word_model: Callable[..., Any]) -> None:
    from tests.tasks.conftest import tiny_model

    with pytest.raises(InputError, match="no tokenizer"):
        ioi(tiny_model(None, d_vocab=10))
    with pytest.raises(InputError, match="the model takes 8"):
        ioi(make_word_model(n_ctx=8))
