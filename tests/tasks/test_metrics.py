"""Every metric against plain Python loops over logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.readout import Readout
from interp.tasks import from_tokens, metrics
from interp.tasks.pairs import PromptPairs

N_VOCAB = 11
N_PAIRS, N_POS = 3, 5
ANSWERS = [[1, 2], [3], [4, 5, 6]]
DISTRACTORS = [[7], [8, 9], [0]]
LENGTHS = [5, 3, 4]


@pytest.fixture
def task() -> PromptPairs:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(N_VOCAB, (length,), generator=generator).tolist() for length in LENGTHS]
    return from_tokens(rows, rows[::1], ANSWERS, DISTRACTORS, positions={"start": [0, 1, 0]})


@pytest.fixture
def logits() -> Tensor:
    """Two runs of the three pairs; pads get enormous logits, so that reading one is noticed."""
    made = torch.randn(2, N_PAIRS, N_POS, N_VOCAB, generator=torch.Generator().manual_seed(1)) * 3
    for row, length in enumerate(LENGTHS):
        made[:, row, length:] = 1e4
    return made


def slow(name: str, row: list[float], answers: list[int], distractors: list[int]) -> float:
    """The definitions, one number at a time."""
    total = sum(math.exp(value) for value in row)
    if name == "logit_difference":
        return sum(row[a] for a in answers) / len(answers) - sum(row[d] for d in distractors) / len(distractors)
    if name == "answer_rank":
        return float(sum(value > max(row[a] for a in answers) for value in row))
    if name == "probability_difference":
        return (sum(math.exp(row[a]) for a in answers) - sum(math.exp(row[d]) for d in distractors)) / total
    if name == "accuracy":
        return float(max(row[a] for a in answers) > max(row[d] for d in distractors))
    assert name == "loss"
    return -math.log(sum(math.exp(row[a]) for a in answers) / total)


SET_METRICS = ["logit_difference", "answer_rank", "probability_difference", "accuracy", "loss"]


@pytest.mark.parametrize("name", SET_METRICS)
@pytest.mark.parametrize("role", ["end", "start"])
def test_set_metrics_equal_plain_loops(task: PromptPairs, logits: Tensor, name: str, role: str) -> None:
    metric = task.with_metric(name, position=role).metric
    scored = metric(logits)
    assert scored.shape == (2, N_PAIRS)
    for run in range(2):
        for pair in range(N_PAIRS):
            row = logits[run, pair, int(task.positions[role][pair])].double().tolist()
            expected = slow(name, row, ANSWERS[pair], DISTRACTORS[pair])
            assert float(scored[run, pair]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", SET_METRICS)
def test_score_on_readout_values_equals_call_on_logits_for_any_runs(
    task: PromptPairs, logits: Tensor, name: str
) -> None:
    metric = task.with_metric(name).metric
    values = metric.readout.gather(logits)
    assert torch.equal(metric.score(values), metric(logits))
    folded = torch.stack([values, values + 1.0])  # two leading dimensions
    assert metric.score(folded).shape == (2, 2, N_PAIRS)
    torch.testing.assert_close(metric.score(folded)[1, 0], metric.score(folded[1, 0]))
    torch.testing.assert_close(metric.score(values[0]), metric(logits[0]))


def test_metrics_state_what_they_read(task: PromptPairs) -> None:
    narrow = metrics.logit_difference(task)
    assert narrow.readout.columns is not None
    assert narrow.readout.columns.shape == (N_PAIRS, 5)
    assert metrics.loss(task).readout.columns is None
    directions = {name: task.with_metric(name).metric.higher_is_clean for name in SET_METRICS}
    assert directions == {
        "logit_difference": True,
        "answer_rank": False,
        "probability_difference": True,
        "accuracy": True,
        "loss": False,
    }
    steps = {name for name in SET_METRICS if not task.with_metric(name).metric.differentiable}
    assert steps == {"answer_rank", "accuracy"}


@pytest.mark.parametrize("name", ["logit_difference", "probability_difference", "loss"])
def test_gradients_of_padded_sets_are_finite_and_right(task: PromptPairs, name: str) -> None:
    metric = task.with_metric(name).metric
    logits = torch.randn(N_PAIRS, N_POS, N_VOCAB, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: metric(x).sum(), (logits,))


def test_logit_difference_gradient_touches_only_the_sets(task: PromptPairs) -> None:
    logits = torch.randn(N_PAIRS, N_POS, N_VOCAB, requires_grad=True)
    metrics.logit_difference(task)(logits).sum().backward()
    expected = torch.zeros_like(logits)
    for pair in range(N_PAIRS):
        for a in ANSWERS[pair]:
            expected[pair, LENGTHS[pair] - 1, a] = 1 / len(ANSWERS[pair])
        for d in DISTRACTORS[pair]:
            expected[pair, LENGTHS[pair] - 1, d] = -1 / len(DISTRACTORS[pair])
    torch.testing.assert_close(logits.grad, expected)


def test_ties_are_wrong_and_rank_zero() -> None:
    task = from_tokens([[0]], [[1]], [2], [3])
    flat = torch.zeros(1, 1, 5)
    assert float(metrics.accuracy(task)(flat)) == 0.0
    assert float(metrics.answer_rank(task)(flat)) == 0.0


def test_log_probability_sums_over_the_tokens_after_end() -> None:
    # Answers of two tokens and of one, already appended; "end" is the last token before them.
    task = from_tokens(
        [[0, 1, 2, 3], [4, 5, 6]], [[9, 1, 2, 3], [9, 5, 6]], [2, 6], [7, 7], positions={"end": [1, 1]}
    ).with_metric("log_probability")
    logits = torch.randn(2, 2, 4, N_VOCAB)
    logits[:, 1, 2:] = 1e4  # after the shorter answer
    p = logits.double().softmax(-1)
    for run in range(2):
        expected = [p[run, 0, 1, 2].log() + p[run, 0, 2, 3].log(), p[run, 1, 1, 6].log()]
        assert task.metric(logits)[run].tolist() == pytest.approx([float(x) for x in expected], rel=1e-4)
    assert task[[1]].metric(logits[:, [1]])[0].tolist() == pytest.approx([float(p[0, 1, 1, 6].log())], rel=1e-4)


def test_log_probability_refuses_prompts_without_an_appended_answer(task: PromptPairs) -> None:
    with pytest.raises(InputError, match="append the answers"):
        task.with_metric("log_probability")


def test_kl_equals_plain_loops_and_is_zero_on_the_clean_run(monkeypatch: pytest.MonkeyPatch, task: PromptPairs) -> None:
    clean = torch.randn(N_PAIRS, N_POS, N_VOCAB)
    clean[0, 4, 3] = float("-inf")
    seen: list[int] = []

    def fake_run(model: object, tokens: Tensor, *, readout: Readout) -> Tensor:
        rows = [next(i for i in range(N_PAIRS) if _starts_with(task.clean[i], row)) for row in tokens]
        seen.append(tokens.shape[1])
        return readout.gather(clean[rows])

    monkeypatch.setattr("interp.hooks.partial.run", fake_run)
    metric = metrics.kl_to_clean(None, task, batch_size=2)
    assert seen == [5, 4]  # the second batch is cut to its longest prompt
    assert not metric.higher_is_clean
    assert metric(clean).abs().max() < 1e-6
    other = torch.randn(2, N_PAIRS, N_POS, N_VOCAB)
    for pair, length in enumerate(LENGTHS):
        p = clean[pair, length - 1].double().softmax(-1).tolist()
        for run in range(2):
            q = other[run, pair, length - 1].double().softmax(-1).tolist()
            expected = sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0)
            assert float(metric(other)[run, pair]) == pytest.approx(expected, rel=1e-4)


def _starts_with(full: Tensor, row: Tensor) -> bool:
    return torch.equal(full[: len(row)].as_subclass(Tensor), row)


def test_token_losses_equal_loops_and_skip_pads(task: PromptPairs, logits: Tensor) -> None:
    losses = metrics.token_losses(logits, task.clean)
    assert losses.shape == (2, N_PAIRS, N_POS - 1)
    for pair, length in enumerate(LENGTHS):
        assert losses[:, pair, length - 1 :].isnan().all()
        for pos in range(length - 1):
            row = logits[0, pair, pos].double().softmax(-1)
            expected = -math.log(float(row[int(task.clean[pair, pos + 1])]))
            assert float(losses[0, pair, pos]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["logit_difference", "accuracy", "probability_difference"])
def test_metrics_of_two_sets_refuse_missing_distractors(name: str) -> None:
    task = from_tokens([[0, 1]], [[0, 2]], [3])
    assert task.metric.name == "loss"
    with pytest.raises(InputError, match="give each pair a distractor"):
        task.with_metric(name)


def test_unknown_role_is_refused(task: PromptPairs) -> None:
    with pytest.raises(InputError, match=r"'S2'.*start, end"):
        task.with_metric("loss", position="S2")
