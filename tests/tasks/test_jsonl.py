"""Pairs from a file: what is read, what is refused and where, and the three ways with long answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.tasks import from_jsonl

GOOD: dict[str, Any] = {
    "clean": "When Mary and John went to the store, John said to",
    "corrupt": "When Mary and John went to the store, Mary said to",
    "answer": " Mary",
    "distractor": " John",
}


def write(tmp_path: Path, *lines: dict[str, Any] | str) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_reads_pairs_of_different_length(byte_model: Any, tmp_path: Path) -> None:
    longer = {**GOOD, "clean": "Then, Alice went to the store. When Mary and John went to", "answer": [" Tom", " Mary"]}
    path = write(tmp_path, {**GOOD, "group": "a"}, "", longer)
    task = from_jsonl(byte_model, path, prepend_bos=True)
    tokenizer = byte_model.tokenizer
    assert task.texts()["clean"] == ["<bos>" + GOOD["clean"], "<bos>" + longer["clean"]]
    assert task.texts()["corrupt"] == ["<bos>" + GOOD["corrupt"]] * 2
    assert task.clean[0, 0] == tokenizer.bos_token_id
    assert not task.equal_lengths
    assert not task[1].aligned
    assert {tokenizer.decode([t]) for t in task.answers[1].tolist()} == {" Tom", " Mary"}
    assert task.answers[0].tolist() == [*tokenizer(" Mary", add_special_tokens=False)["input_ids"], -1]
    assert task.groups == ("a", "all")
    assert task.positions["end"].tolist() == [int(n) - 1 for n in task.lengths]
    assert task.name == "mine"
    described = task.describe()
    assert described["settings"]["file"] == "mine.jsonl"
    assert described["settings"]["multi_token"] == "refuse"
    logits = torch.randn(2, task.clean.shape[1], byte_model.cfg.d_vocab)
    end = int(task.corrupt_lengths[1]) - 1
    expected = logits[1, end, task.answers[1]].mean() - logits[1, end, task.distractors[1, 0]]
    assert float(task.corrupt_metric(logits)[1]) == pytest.approx(float(expected))


def test_positions(byte_model: Any, tmp_path: Path) -> None:
    places = {"IO": ["Mary", 1], "S2": ["John", 2], "store": "the sto", "third": 2, "last": -1}
    line = {**GOOD, "positions": places}
    for bos in (False, True):
        task = from_jsonl(byte_model, write(tmp_path, line), prepend_bos=bos)
        words = task.token_strings()[0]
        at = {role: words[int(index[0])] for role, index in task.positions.items()}
        # "the sto" ends inside a token, which is then the position.
        assert at == {"IO": " Mary", "S2": " John", "store": " store", "third": " and", "last": " to", "end": " to"}
        # The prompts are equally long, so the same tokens hold in the corrupt one, whatever stands there.
        assert {k: v.tolist() for k, v in task.corrupt_positions.items()} == {
            k: v.tolist() for k, v in task.positions.items()
        }


def test_positions_in_a_corrupt_prompt_of_another_length(byte_model: Any, tmp_path: Path) -> None:
    line = {
        **GOOD,
        "corrupt": "Then, " + GOOD["corrupt"],
        "positions": {"where": "store", "who": ["John", 2], "last": -1},
        "corrupt_positions": {"who": ["Mary", 2]},
    }
    task = from_jsonl(byte_model, write(tmp_path, line))
    words = task.token_strings(corrupt=True)[0]
    assert {role: words[int(i[0])] for role, i in task.corrupt_positions.items()} == {
        "where": " store",
        "who": " Mary",
        "last": " to",
        "end": " to",
    }
    del line["corrupt_positions"]
    with pytest.raises(InputError, match=r"line 1: corrupt position 'who': \"John\" occurs 1 times"):
        from_jsonl(byte_model, write(tmp_path, line))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"clean": "a"', r"not JSON \(Expecting ',' delimiter at column"),
        ("[1]", "must be a JSON object, not list"),
        ({k: v for k, v in GOOD.items() if k != "answer"}, "the field 'answer' is missing"),
        ({**GOOD, "clean": 3}, "'clean' must be a string, not int"),
        ({**GOOD, "clean": ""}, "a prompt is empty"),
        ({**GOOD, "group": 3}, "'group' must be a string"),
        ({**GOOD, "answer": 3}, "'answer' must be a non-empty string or a list"),
        ({**GOOD, "answer": ""}, "'answer' must be a non-empty string"),
        ({**GOOD, "answer": []}, "at least one answer"),
        ({**GOOD, "answer": [" Mary", 3]}, "'answer' must be"),
        ({**GOOD, "distractors": " Tom"}, "no field 'distractors'; did you mean 'distractor'"),
        ({**GOOD, "positions": ["Mary"]}, "'positions' must be an object"),
        ({**GOOD, "positions": {"end": 1}}, "may not name 'end'"),
        ({**GOOD, "positions": {"x": "Mary Tom"}}, "position 'x': \"Mary Tom\" occurs 0 times"),
        ({**GOOD, "positions": {"x": "John"}}, r'occurs 2 times; say which, as \["John", 1\] for the first'),
        (
            {**GOOD, "positions": {"x": ["John", 3]}},
            r'"John" occurs 2 times in .*, and \["John", 3\] asks for number 3, counted from 1',
        ),
        ({**GOOD, "positions": {"x": 99}}, "token 99 of a prompt with 13 tokens, counted from 0"),
        ({**GOOD, "positions": {"x": 1.5}}, "must be a text"),
        ({**GOOD, "positions": {"x": 1}}, "the first line's end; use the same roles"),
        ({**GOOD, "corrupt_positions": {"x": 1}}, "no position 'x'"),
        ({**GOOD, "clean": "store " * 100}, "the model takes 64"),
        ({**GOOD, "answer": "Mary"}, "'Mary' is 2 tokens here; did you mean ' Mary', with the space"),
        ({**GOOD, "answer": " Michael"}, r"' Michael' is \d tokens here; give a single token"),
        (
            {**GOOD, "clean": GOOD["clean"] + " ", "answer": "Mary"},
            "the prompt ends with a space, which belongs at the start",
        ),
        ({**GOOD, "answer": " John"}, "begin with the same token"),
    ],
)
def test_bad_lines_are_refused_with_their_number(
    byte_model: Any, tmp_path: Path, line: dict[str, Any] | str, message: str
) -> None:
    with pytest.raises(InputError, match=f"^mine.jsonl, line 3: .*{message}"):
        from_jsonl(byte_model, write(tmp_path, GOOD, "", line))


def test_unusable_files(byte_model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.jsonl is empty"):
        from_jsonl(byte_model, write(tmp_path, "", "  "))
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        from_jsonl(byte_model, tmp_path / "other.jsonl")
    with pytest.raises(InputError, match="cannot read"):
        from_jsonl(byte_model, tmp_path)
    (tmp_path / "latin.jsonl").write_bytes(b'{"clean": "\xe9"}')
    with pytest.raises(InputError, match="not UTF-8"):
        from_jsonl(byte_model, tmp_path / "latin.jsonl")
    with pytest.raises(InputError, match="did you mean 'logprob'"):
        from_jsonl(byte_model, write(tmp_path, GOOD), multi_token="logprobs")


def test_unknown_words_are_refused(word_model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in this model's vocabulary"):
        from_jsonl(word_model, write(tmp_path, {**GOOD, "answer": " Rumpelstiltskin"}))
    with pytest.raises(InputError, match="merges with their last words; did you mean ' Mary'"):
        from_jsonl(word_model, write(tmp_path, {**GOOD, "answer": "Mary"}))


def test_first_token(byte_model: Any, tmp_path: Path) -> None:
    path = write(tmp_path, {**GOOD, "answer": " Mary and John"}, GOOD)
    task = from_jsonl(byte_model, path, multi_token="first")
    assert task.answers[0].tolist() == task.answers[1].tolist()
    assert task.notes == ("1 answers or distractors were cut to their first token, e.g. ' Mary and John'",)
    with pytest.raises(InputError, match="line 1: an answer and a distractor begin with the same token"):
        from_jsonl(
            byte_model,
            write(tmp_path, {**GOOD, "answer": " Mary and", "distractor": " Mary Tom"}),
            multi_token="first",
        )


def test_summed_log_probability(byte_model: Any, tmp_path: Path) -> None:
    """Against the model's own log-probabilities, one token at a time."""
    answers = [" Mary and John", " Tom"]
    path = write(tmp_path, *({**GOOD, "answer": answer, "positions": {"where": "store"}} for answer in answers))
    task = from_jsonl(byte_model, path, multi_token="logprob", prepend_bos=True)
    assert task.metric.name == "log_probability"
    assert task.metric.higher_is_clean
    for side, prompt, metric in (
        (task.clean, GOOD["clean"], task.metric),
        (task.corrupt, GOOD["corrupt"], task.corrupt_metric),
    ):
        with torch.no_grad():
            scored = metric(byte_model(side.as_subclass(Tensor)))
        for row, answer in enumerate(answers):
            tokenizer, expected = byte_model.tokenizer, 0.0
            before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            so_far = [tokenizer.bos_token_id, *before]
            for token in tokenizer(answer, add_special_tokens=False)["input_ids"]:
                with torch.no_grad():
                    logits = byte_model(torch.tensor([so_far]))
                expected += float(logits[0, -1].log_softmax(-1)[token])
                so_far.append(token)
            assert float(scored[row]) == pytest.approx(expected, abs=1e-4)
            assert side.tolist()[row][: len(so_far)] == so_far
    assert task.token_strings()[0][int(task.positions["end"][0])] == " to"
    with pytest.raises(InputError, match="scores one answer a line; this one has 2"):
        from_jsonl(byte_model, write(tmp_path, {**GOOD, "answer": [" Mary", " Tom"]}), multi_token="logprob")


def test_log_probability_of_unequal_prompts(byte_model: Any, tmp_path: Path) -> None:
    line = {**GOOD, "corrupt": "Then, " + GOOD["corrupt"], "answer": " Mary and", "distractor": []}
    task = from_jsonl(byte_model, write(tmp_path, line), multi_token="logprob")
    shift = int(task.corrupt_lengths[0] - task.lengths[0])
    assert shift > 0
    positions = task.corrupt_metric.readout.positions
    assert positions.tolist() == (task.metric.readout.positions + shift).tolist()


def test_answers_without_a_space_warn(byte_model: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="follow a word without a space, e.g. 's'"):
        task = from_jsonl(
            byte_model, write(tmp_path, {**GOOD, "clean": "When Mary", "corrupt": "When John", "answer": "s"})
        )
    assert "without a space" in task.notes[0]


def test_an_explicitly_empty_distractor_scores_by_loss(byte_model: Any, tmp_path: Path) -> None:
    assert from_jsonl(byte_model, write(tmp_path, {**GOOD, "distractor": []})).metric.name == "loss"
