"""What is read of models: the right tokens of the right layers, aligned across tokenizers."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.prompts import prompt_tokens
from interp.similarity import represent
from interp.similarity.aligning import paired, tokens_and_spans, word_ends
from interp.similarity.reading import rows_a_pass, usual_tokens
from tests.tasks.space_tokenizer import space_model
from tests.tiny_models import random_tokens, tiny

TEXTS = ["the cat sat on the mat", "a dög in the mat,  on top", "cat on mat sat"]


@pytest.fixture(scope="module")
def pair() -> tuple[object, object]:
    """Two models whose tokenizers cut texts at different places."""
    return space_model(["the", "cat", "mat"]), space_model(["sat", "on", "mat"], more=[("c", "a"), ("ca", "t")])


def test_the_stream_of_one_model_without_pads_and_first_positions() -> None:
    model = tiny("llama")
    tokens = prompt_tokens(random_tokens(3, 9), lengths=torch.tensor([9, 4, 6]))
    found = represent(model, tokens, drop_outliers=False)
    assert found.labels == (0, 1, 2, 3, 4)
    assert found.documents.tolist() == [0] * 8 + [1] * 3 + [2] * 5
    acts = interp.capture(model, tokens, [sites.resid_pre(2), sites.resid_post(3)])
    torch.testing.assert_close(found.first[2][8:11], acts[sites.resid_pre(2)][1, 1:4])
    torch.testing.assert_close(found.first[4][11:], acts[sites.resid_post(3)][2, 1:6])
    assert represent(model, tokens, skip_first=False, drop_outliers=False).n == 19


def test_passes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny("gpt2"), prompt_tokens(random_tokens(7, 9), lengths=torch.tensor([9, 4, 6, 9, 2, 3, 9]))
    whole = represent(model, tokens)
    monkeypatch.setattr("interp.similarity.reading.PASS_TOKENS", 20)
    monkeypatch.setattr("interp.similarity.reading.rows_a_pass", lambda lengths, _=20: rows_a_pass(lengths, 20))
    parts = represent(model, tokens)
    for a, b in zip(whole.first, parts.first):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_ranges_of_documents_hold_every_document_once() -> None:
    lengths = [5, 9, 3, 30, 1, 1, 1, 8]
    ranges = rows_a_pass(lengths, 20)
    assert [i for rows in ranges for i in rows] == list(range(8))
    assert all(len(rows) == 1 or len(rows) * max(lengths[i] for i in rows) <= 20 for rows in ranges)
    assert len(ranges) == 5


def test_sites_of_any_kind_and_width() -> None:
    found = represent(tiny("llama"), random_tokens(), sites=["blocks.1.attn.hook_z", sites.mlp_post(2)])
    assert found.labels == ("blocks.1.attn.hook_z", "blocks.2.mlp.hook_post")
    assert [x.shape[1] for x in found.first] == [48, 96]
    assert represent(tiny("llama"), random_tokens(), sites=[sites.mlp_out(0), sites.mlp_out(2)]).labels == (0, 2)


def test_tokens_of_two_tokenizers_end_at_the_same_characters(pair) -> None:
    for text in TEXTS:
        (ids_a, a), (ids_b, b) = (tokens_and_spans(model, text, prepend_bos=False) for model in pair)
        first, second = paired(text, a, b, "character")
        assert first
        for i, j in zip(first, second):
            decoded = [
                model.tokenizer.decode(ids[: k + 1]) for model, ids, k in ((pair[0], ids_a, i), (pair[1], ids_b, j))
            ]
            assert decoded[0] == decoded[1] == text[: len(decoded[0])]


def test_a_word_is_its_last_token(pair) -> None:
    for text in TEXTS:
        for model in pair:
            ids, spans = tokens_and_spans(model, text, prepend_bos=False)
            tokens = [*word_ends(text, spans).values()]
            assert len(tokens) == len(text.split())
            for n_words, token in enumerate(tokens, 1):
                assert model.tokenizer.decode(ids[: token + 1]).split() == text.split()[:n_words]


def test_words_that_share_a_token_with_the_next_are_left_out() -> None:
    spans = [(0, 3), (3, 9), (9, 12)]  # "one", " two t", "hre"
    assert word_ends("one two thre", spans) == {3: 0, 12: 2}


def test_two_models_are_read_at_the_same_places(pair) -> None:
    a, b = pair
    found = represent(a, TEXTS, b, align="word", drop_outliers=False)
    first_words = [
        [next(iter(word_ends(text, tokens_and_spans(model, text, False)[1]).values())) for model in pair]
        for text in TEXTS
    ]
    at_position_0 = sum(0 in tokens for tokens in first_words)  # left out, in both
    assert found.n == sum(len(text.split()) for text in TEXTS) - at_position_0
    same = represent(a, TEXTS, a, align="character", drop_outliers=False)
    for x, y in zip(same.first, same.second):
        torch.testing.assert_close(x, y)
    assert represent(a, TEXTS, b).settings["align"] == "character"
    assert represent(a, TEXTS, a).settings["align"] == "token"
    assert any("Aligned by characters" in note for note in represent(a, TEXTS, b).notes)


def test_a_document_is_the_mean_of_its_tokens(pair) -> None:
    a, b = pair
    texts = [*TEXTS, "mat", "on the mat"]
    found = represent(a, texts, b, align="document")
    tokens = represent(a, texts, align="token", drop_outliers=False)
    assert found.n == 5
    torch.testing.assert_close(found.first[1][2], tokens.first[1][tokens.documents == 2].mean(0))


def test_bos_is_read_and_left_out(pair) -> None:
    a, _ = pair
    with_bos = represent(a, TEXTS, prepend_bos=True, drop_outliers=False)
    without = represent(a, TEXTS, skip_first=False, drop_outliers=False)
    assert with_bos.n == without.n
    by_word = represent(a, TEXTS, prepend_bos=True, align="word", drop_outliers=False)
    assert by_word.n == sum(len(text.split()) for text in TEXTS)


def test_tokens_of_massive_norm_are_left_out_and_that_is_said() -> None:
    model, tokens = tiny("llama"), random_tokens(6, 12)
    steering = interp.steer(sites.resid_pre(2), 1e4 * torch.ones(48), positions=[5])
    with interp.intervene(model, steering):
        found, kept = represent(model, tokens), represent(model, tokens, drop_outliers=False)
    assert (found.n, kept.n) == (60, 66)
    assert any("6 of 66 tokens are left out" in note for note in found.notes)


def test_a_site_where_most_tokens_are_zero_leaves_no_token_out() -> None:
    sparse = torch.zeros(9, 4)
    sparse[2:5] = 1
    assert usual_tokens(sparse).all(), "the median length is 0 and says nothing about outliers"
    sparse[:] = 1
    sparse[3] = 11
    assert usual_tokens(sparse).tolist() == [i != 3 for i in range(9)]


def test_notes_on_reading_name_the_models(pair) -> None:
    (note,) = (note for note in represent(*_turned(pair)).notes if "Aligned by characters" in note)
    names = [pair[0].cfg.model_name, pair[1].cfg.model_name]
    named = names if names[0] != names[1] else ["the first model", "the other model"]
    assert f"of the tokens of {named[0]} and" in note
    assert f"of those of {named[1]}." in note
    model, tokens = tiny("llama"), random_tokens(6, 12)
    with interp.intervene(model, interp.steer(sites.resid_pre(2), 1e4 * torch.ones(48), positions=[5])):
        found = represent(model, tokens, model)
    assert any("at some site of either model they are" in note for note in found.notes)


def _turned(pair) -> tuple[object, list[str], object]:
    return pair[0], TEXTS, pair[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align": "sentence"}, "there is no way to align 'sentence'"),
        ({"align": "word"}, "needs texts"),
        ({"other_sites": ["embed"]}, "a second model"),
        ({"sites": []}, "no sites"),
        ({"sites": [sites.pattern(0)]}, "no vector for a token"),
        ({"sites": [sites.resid_post(9)]}, "layer 9"),
        ({"memory_budget": 1000}, "memory_budget leaves .* minibatch=512"),
    ],
)
def test_what_cannot_be_read_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        represent(tiny("llama"), random_tokens(), **options)


def test_tokens_of_two_tokenizers_are_not_paired_one_by_one(pair) -> None:
    with pytest.raises(InputError, match=r'into different tokens.*use align="character"'):
        represent(pair[0], TEXTS, pair[1], align="token")
    assert represent(pair[0], TEXTS, pair[0], align="token").n > 0
    with pytest.raises(InputError, match="3 texts are too few to compare as one point each"):
        represent(pair[0], TEXTS, pair[1], align="document")


def test_token_ids_for_another_tokenizer_are_refused(pair) -> None:
    with pytest.raises(InputError, match="different tokenizers"):
        represent(pair[0], torch.ones(2, 5, dtype=torch.long), pair[1])
    with pytest.raises(InputError, match="are left to compare"):
        represent(pair[0], "mat")


class Halves:
    """A codec of the first half of the dimensions."""

    reads = writes = "resid_post"

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., : x.shape[-1] // 2]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([latents, torch.zeros_like(latents)], dim=-1)


def test_latents_are_sites_like_any_other() -> None:
    wanted = [interp.LatentSite(sites.resid_post(layer), Halves()) for layer in (0, 2)]
    found = represent(tiny("llama"), random_tokens(), sites=wanted)
    stream = represent(tiny("llama"), random_tokens(), sites=[sites.resid_post(0), sites.resid_post(2)])
    assert found.labels == (0, 2)
    torch.testing.assert_close(found.first[1], stream.first[1][:, :24])


def test_a_task_is_its_clean_prompts_and_is_kept_in_provenance() -> None:
    model = interp.load_model("toy/induction")
    task = interp.tasks.for_toy(model, n=8, seed=0)
    found = represent(model, task, drop_outliers=False)
    assert found.n == int((task.lengths - 1).sum())
    assert found.task is not None
    assert found.task["name"] == task.describe()["name"]
