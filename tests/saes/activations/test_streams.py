"""Activations on their way into training: which tokens count, packing, mixing, streams that go on where they were."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import saes
from interp import capture
from interp.errors import InputError
from saes.activations.harvesting import Harvest, ModelStream
from saes.activations.keeping import ordinary
from saes.activations.reading import held_out_rows
from saes.activations.reservoir import Reservoir
from saes.activations.rows import LocalRows, StreamedRows, pack
from saes.activations.texts import Texts
from tests.tiny_models import tiny, word_tokenizer

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty documents of 5 to 44 words; none begin with w1 or w2, which are special."""
    for i in range(40):
        words = [f"w{30 + (i * 7 + k * 3) % 69}" for k in range(5 + i)]
        (tmp_path / f"{i:02d}.txt").write_text(" ".join(words))
    return tmp_path


def test_tokens_that_count() -> None:
    acts = torch.ones(3, 6, 4)
    acts[1, 3] *= 50
    tokens = torch.arange(18).view(3, 6)
    kept = ordinary(acts, tokens, lengths=torch.tensor([6, 6, 4]), excluded={2})
    assert not kept[:, 0].any()
    assert not kept[1, 3]
    assert not kept[0, 2]
    assert not kept[2, 4:].any()
    assert kept.sum() == 18 - 3 - 1 - 1 - 2


def test_documents_packed_without_padding(folder: Path) -> None:
    texts = Texts(str(folder), held_out=0.0)
    documents = dict(texts.documents())
    tokenizer = word_tokenizer()
    rows = list(pack(texts.documents(), tokenizer, 16))
    every = [token for _, text in documents.items() for token in tokenizer(text)["input_ids"]]
    joined = torch.cat([row.tokens for row in rows]).flatten().tolist()
    assert joined == every[: len(joined)]
    assert len(every) - len(joined) < 16
    lengths = [len(text.split()) for text in documents.values()]
    counted = Counter(torch.cat([row.documents for row in rows]).flatten().tolist())
    assert all(counted[i] == lengths[i] for i in range(len(lengths) - 1))
    opened = torch.cat([row.tokens for row in pack(texts.documents(), tokenizer, 16, bos=1)])
    assert (opened[:, 0] == 1).all()
    assert (opened == 1).sum() >= len(documents) - 1


def test_the_split_by_document(folder: Path) -> None:
    texts = Texts(str(folder), held_out=0.3)
    kept, held = dict(texts.documents()), dict(texts.documents(held_out=True))
    assert len(kept) + len(held) == 40
    assert not set(kept) & set(held)
    assert 4 <= len(held) <= 20
    assert list(dict(texts.documents(skip=3))) == list(kept)[3:]


def test_other_sources(tmp_path: Path, folder: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(json.dumps({"body": f"w{i}"}) for i in range(3)))
    assert [text for _, text in Texts(str(lines), column="body", held_out=0.0).documents()] == ["w0", "w1", "w2"]
    with pytest.raises(InputError, match=r"line 1 of .* is no object with the key 'text'"):
        list(Texts(str(lines)).documents())
    one = Texts(str(folder / "05.txt"), held_out=0.0)
    assert len(dict(one.documents())) == 1
    assert one.describe()["sha256"] != Texts(str(folder / "06.txt"), held_out=0.0).describe()["sha256"]


def test_one_file_is_cut_into_documents_and_some_are_held_out(tmp_path: Path) -> None:
    path = tmp_path / "novel.txt"
    paragraphs = [" ".join(f"w{i}" for i in range(600)) for _ in range(60)]
    path.write_text("\n\n".join(paragraphs))
    few, many = Texts(str(path), held_out=0.05), Texts(str(path), held_out=0.21)
    kept, held = dict(few.documents()), dict(few.documents(held_out=True))
    assert held
    assert len(kept) > 10 * len(held)
    assert all(text.endswith("\n\n") for text in list(kept.values())[:-1]), "pieces end where paragraphs do"
    whole = sorted((kept | held).items(), key=lambda item: int(item[0].rpartition("#")[2]))
    assert "".join(text for _, text in whole) == path.read_text()
    assert set(held) < set(dict(many.documents(held_out=True))), "what a share holds out, a larger one does too"
    for gap in ("\n", " "):
        path.write_text(gap.join(paragraphs))
        assert list(few.documents(held_out=True)), "lines and words are places to cut too"


@pytest.mark.parametrize("source", ["tx/none.txt", "none.jsonl", "./owner/name", "a/b/c", "~/nothing"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(source: str) -> None:
    with pytest.raises(InputError, match="there are no texts at"):
        Texts(source)
    assert Texts("owner/name").on_hub


def test_what_is_held_out_of_a_data_set_without_end_is_read_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(self: Texts) -> Iterator[tuple[str, str]]:
        return ((f"owner/name#{i}", f"w{30 + i % 60} w{31 + i % 60} w40 w50") for i in itertools.count())

    monkeypatch.setattr(Texts, "_hub", endless)
    held = held_out_rows(Texts("owner/name", held_out=0.5), word_tokenizer(), 8, None, 3)
    assert held.tokens.shape == (3, 8)


def test_a_reservoir_loses_and_doubles_nothing() -> None:
    reservoir = Reservoir(50, torch.Generator().manual_seed(0))
    reservoir.fill({"a": torch.arange(50.0)[:, None], "b": -torch.arange(50.0)[:, None]})
    seen = []
    for start in range(50, 450, 8):
        fresh = torch.arange(start, start + 8.0)[:, None]
        taken = reservoir.exchange({"a": fresh, "b": -fresh})
        assert torch.equal(taken["a"], -taken["b"])
        seen += taken["a"].flatten().tolist()
    left = reservoir.rows["a"].flatten().tolist()
    assert sorted([*seen, *left]) == list(range(450))
    assert seen != sorted(seen)
    with pytest.raises(InputError, match="larger than the shuffle buffer of 50"):
        reservoir.exchange({"a": torch.zeros(51, 1), "b": torch.zeros(51, 1)})


def test_rows_in_a_new_order_every_epoch(folder: Path) -> None:
    texts = Texts(str(folder), held_out=0.0)
    rows = LocalRows(texts, word_tokenizer(), 16, None, seed=0)
    first, second = (rows.next_rows(rows.n_rows).tokens for _ in range(2))
    assert not torch.equal(first, second)
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, second.tolist()))
    assert rows.epoch == 2
    streamed = StreamedRows(texts, word_tokenizer(), 16, None)
    streamed.next_rows(7)
    state = streamed.state()
    expected = streamed.next_rows(5).tokens
    again = StreamedRows(texts, word_tokenizer(), 16, None)
    again.restore(state)
    assert torch.equal(again.next_rows(5).tokens, expected)
    with pytest.raises(InputError, match="shorter than one context"):
        LocalRows(texts, word_tokenizer(), 5000, None, seed=0)


def stream(folder: Path, seed: int = 0) -> ModelStream:
    settings = Harvest(context_size=16, prompts_per_pass=2, buffer=120)
    return ModelStream(tiny("llama"), Texts(str(folder), held_out=0.2), SITES, settings, seed=seed)


def test_a_stream_gives_the_models_activations(folder: Path) -> None:
    model, here = tiny("llama"), stream(folder)
    every = here.rows.rows.tokens  # type: ignore[attr-defined]
    acts = capture(model, every, SITES)
    known = acts[SITES[0]][:, 1:].reshape(-1, int(model.cfg.d_model))
    other = acts[SITES[1]][:, 1:].reshape(-1, int(model.cfg.d_model))
    batch = here.next_batch(30)
    nearest = torch.cdist(batch[SITES[0]], known, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert nearest.values.max() < 1e-4
    # The same token at both sites.
    torch.testing.assert_close(batch[SITES[1]], other[nearest.indices], rtol=1e-3, atol=1e-4)
    assert here.sample(50)[SITES[0]].shape == (50, int(model.cfg.d_model))
    assert len(here.held_out(40)[SITES[0]]) > 0


def test_a_stream_goes_on_where_it_was(folder: Path) -> None:
    first = stream(folder)
    for _ in range(5):
        first.next_batch(30)
    tensors, plain = first.state()
    tensors = {name: value.clone() for name, value in tensors.items()}
    second = stream(folder)
    second.restore(tensors, json.loads(json.dumps(plain)))
    for _ in range(4):
        a, b = first.next_batch(30), second.next_batch(30)
        assert all(torch.equal(a[site], b[site]) for site in SITES)


def test_training_on_a_stream(folder: Path, tmp_path: Path) -> None:
    width = int(tiny("llama").cfg.d_model)
    options = {"n_tokens": 20 * 30, "batch_size": 30, "log_every": 5}
    run = saes.fit(saes.TopK(width, 64, k=4), stream(folder), out=tmp_path / "runs", **options)
    assert set(run.dictionaries) == {f"{site}-topk-64-k4" for site in SITES}
    assert run.last(f"{SITES[0]}-topk-64-k4")["held_out_l0"] <= 4
