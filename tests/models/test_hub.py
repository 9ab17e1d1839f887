"""What the hub may answer, and what is made of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants, errors

from interp.errors import InputError
from interp.models.hub import find_on_hub

OURS = ("smollm2-135m", "gpt2")


def answering(monkeypatch, answer):
    def model_info(self, name, revision=None, timeout=None):
        assert timeout is not None
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(HfApi, "model_info", model_info)


def failure(kind):
    """A hub error as it is raised, without the HTTP response it normally carries."""
    error = kind.__new__(kind)
    Exception.__init__(error, "said the hub")
    return error


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_commit_is_pinned(monkeypatch):
    answering(monkeypatch, SimpleNamespace(sha="abc"))
    found = find_on_hub("gpt2", None, OURS, OURS)
    assert (found.source, found.revision, found.cached) == ("gpt2", "abc", False)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.RepositoryNotFoundError, "the Hugging Face hub has no model 'gtp2'; did you mean .*'gpt2'"),
        (errors.GatedRepoError, "accept its licence"),
        (errors.RevisionNotFoundError, "has no revision 'step3'"),
        (errors.OfflineModeIsEnabled, r"cannot be reached \(said the hub\)"),
        (TimeoutError, "cannot be reached"),
    ],
)
def test_refusals(monkeypatch, kind, message):
    answering(monkeypatch, failure(kind))
    with pytest.raises(InputError, match=message):
        find_on_hub("gtp2", "step3", OURS, OURS)


def test_a_name_that_cannot_be_one(monkeypatch):
    with pytest.raises(InputError, match="is not the name of a model"):
        find_on_hub("two words", None, OURS, OURS)
