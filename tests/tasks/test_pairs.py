"""Pairs keep their parts together: padding, selection, roles, lengths, description."""

from __future__ import annotations

import json

import pytest
import torch

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens
from interp.tasks import from_tokens, metrics
from interp.tasks.pairs import PromptPairs

CLEAN = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
CORRUPT = [[1, 2, 0, 4], [5, 6, 7], [7, 8, 9]]


@pytest.fixture
def task() -> PromptPairs:
    return from_tokens(
        CLEAN,
        CORRUPT,
        [[1], [2, 3], [4]],
        [5, 6, 7],
        positions={"name": [1, 0, 2]},
        corrupt_positions={"name": [2, 1, 0]},
        groups=["a", "b", "a"],
        pad_id=99,
        seed=3,
        settings={"corruption": "mine"},
        notes=["a note"],
    )


def test_prompts_are_right_padded_to_one_width(task: PromptPairs) -> None:
    assert task.clean.tolist() == [[1, 2, 3, 4], [5, 6, 99, 99], [7, 8, 9, 99]]
    assert task.corrupt.tolist() == [[1, 2, 0, 4], [5, 6, 7, 99], [7, 8, 9, 99]]
    assert task.lengths.tolist() == [4, 2, 3]
    assert task.corrupt_lengths.tolist() == [4, 3, 3]
    assert task.answers.tolist() == [[1, -1], [2, 3], [4, -1]]
    assert isinstance(task.clean, PromptTokens)
    assert task.clean.groups == task.groups == ("a", "b", "a")


def test_clean_widens_to_a_longer_corrupt_side() -> None:
    task = from_tokens([[1], [2]], [[3, 4, 5], [6, 7]], [1, 1], [2, 2])
    assert task.clean.tolist() == [[1, 0, 0], [2, 0, 0]]
    assert task.clean.shape == task.corrupt.shape


def test_end_is_the_last_real_token_of_each_side(task: PromptPairs) -> None:
    assert task.roles == ("name", "end")
    assert task.positions["end"].tolist() == [3, 1, 2]
    assert task.corrupt_positions["end"].tolist() == [3, 2, 2]
    assert task.corrupt_positions["name"].tolist() == [2, 1, 0]


def test_divergence_is_the_first_difference_and_the_length_without_one(task: PromptPairs) -> None:
    assert task.divergence.tolist() == [2, 2, 3]


def test_divergence_sees_a_token_that_equals_the_pad() -> None:
    task = from_tokens([[1, 2]], [[1, 2, 0]], [3], [4], pad_id=0)
    assert task.divergence.tolist() == [2]


def test_equal_lengths_and_aligned(task: PromptPairs) -> None:
    assert not task.equal_lengths
    assert not task.aligned
    assert task[[0, 2]].aligned
    assert not task[[0, 2]].equal_lengths
    assert task[0].equal_lengths


def test_corrupt_metric_reads_where_the_corrupt_prompt_ends(task: PromptPairs) -> None:
    assert task.corrupt_metric.readout.positions[:, 0].tolist() == [3, 2, 2]
    assert task[[0, 2]].corrupt_metric is not None
    same = task[[0, 2]]
    assert same.corrupt_metric is same.metric
    logits = torch.randn(3, 4, 10)
    expected = [logits[1, 2, [2, 3]].mean() - logits[1, 2, 6]]
    assert float(task.corrupt_metric(logits)[1]) == pytest.approx(float(expected[0]))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        ([True, False, True], [0, 2]),
        (torch.tensor([False, True, True]), [1, 2]),
        (torch.tensor([2, 2]), [2, 2]),
    ],
)
def test_selection_keeps_every_part_together(task: PromptPairs, rows: object, expected: list[int]) -> None:
    chosen = task[rows]  # type: ignore[index]
    assert len(chosen) == len(expected)
    assert chosen.clean.tolist() == [task.clean.tolist()[row] for row in expected]
    assert chosen.lengths.tolist() == [task.lengths.tolist()[row] for row in expected]
    assert chosen.corrupt_positions["name"].tolist() == [[2, 1, 0][row] for row in expected]
    assert chosen.groups == tuple(task.groups[row] for row in expected)
    logits = torch.randn(3, 4, 10)
    torch.testing.assert_close(chosen.metric(logits[expected]), task.metric(logits)[expected])


@pytest.mark.parametrize("rows", [[], [False, False, False], slice(3, 3)])
def test_empty_selection_is_refused(task: PromptPairs, rows: object) -> None:
    with pytest.raises(InputError, match="no pair was selected"):
        task[rows]  # type: ignore[index]


def test_selection_out_of_range_and_wrong_mask(task: PromptPairs) -> None:
    with pytest.raises(IndexError):
        task[3]
    with pytest.raises(InputError, match="one value a pair"):
        task[[True, False]]
    assert [len(pair) for pair in task] == [1, 1, 1]  # type: ignore[attr-defined]


def test_with_metric_by_name_and_object(task: PromptPairs) -> None:
    assert task.metric.name == "logit_difference"
    assert task.with_metric("loss").metric.name == "loss"
    assert task.with_metric(metrics.accuracy(task)).metric.name == "accuracy"
    with pytest.raises(InputError, match="did you mean 'logit_difference'"):
        task.with_metric("logit_diference")
    with pytest.raises(InputError, match="of 1 pairs and the task has 3"):
        task.with_metric(metrics.loss(task[0]))
    with pytest.raises(InputError, match="model=model"):
        task.with_metric("kl_to_clean")


def test_selection_keeps_a_changed_metric(task: PromptPairs) -> None:
    assert task.with_metric("loss")[1].metric.name == "loss"


def test_to_keeps_roles_groups_and_metric(task: PromptPairs) -> None:
    moved = task.with_metric("loss").to("cpu")
    assert moved.metric.name == "loss"
    assert moved.groups == task.groups
    assert moved.corrupt_positions["name"].tolist() == [2, 1, 0]
    assert moved.describe()["sha256"] == task.describe()["sha256"]


def test_description_is_json_and_identifies_the_tokens(task: PromptPairs) -> None:
    described = task.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["n"] == 3
    assert described["seed"] == 3
    assert described["corruption"] == "mine"
    assert described["notes"] == ["a note"]
    other_pad = from_tokens(CLEAN, CORRUPT, [[1], [2, 3], [4]], [5, 6, 7], pad_id=7)
    assert other_pad.describe()["sha256"] == described["sha256"]
    changed = from_tokens(CLEAN, [[1, 2, 0, 5], *CORRUPT[1:]], [[1], [2, 3], [4]], [5, 6, 7])
    assert changed.describe()["sha256"]["corrupt"] != described["sha256"]["corrupt"]
    assert changed.describe()["sha256"]["clean"] == described["sha256"]["clean"]


def test_shows_itself_without_a_tokenizer(task: PromptPairs) -> None:
    assert "1 2 3 4" in repr(task)
    assert "99" not in repr(task)
    assert "<table>" in task._repr_html_()
    with pytest.raises(InputError, match="give one"):
        task.texts()


class BracketTokenizer:
    """Turns token 1 into something that must be escaped."""

    def decode(self, ids: list[int], **options: object) -> str:
        return "".join({1: "<b>"}.get(token, f" w{token}") for token in ids)


def test_texts_and_escaped_table() -> None:
    task = from_tokens(CLEAN, CORRUPT, [1, 2, 3], [5, 6, 7], tokenizer=BracketTokenizer())
    assert task.texts()["clean"] == ["<b> w2 w3 w4", " w5 w6", " w7 w8 w9"]
    assert task.token_strings()[1] == [" w5", " w6"]
    assert task.token_strings(corrupt=True)[1] == [" w5", " w6", " w7"]
    assert "<b> w2" not in task._repr_html_()
    assert "&lt;b&gt; w2" in task._repr_html_()


def test_user_tensors_are_copied() -> None:
    tokens = torch.tensor([[1, 2]])
    task = from_tokens(tokens, torch.tensor([[1, 3]]), [4], [5])
    tokens[0, 0] = 9
    assert task.clean.tolist() == [[1, 2]]
