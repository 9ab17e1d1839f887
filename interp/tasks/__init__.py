"""Tasks: pairs of a clean and a corrupt prompt with their answers, and the metrics that score a run on them.

`ioi`, `induction`, `repeated_text`, `greater_than`, `docstring`, `gendered_pronoun`, `subject_verb_agreement` and
`capital_country` make pairs for any model with a tokenizer that suits them, `for_toy` for the hand-built ones,
`from_jsonl` and `from_tokens` from a user's own; `metrics` holds the metrics, `task.with_metric(...)` changes one.
`english_documents`, `english_passages` and `passage_tokens` are real prose that needs no hub.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Metric": "metric",
    "Behaviour": "behaving",
    "PromptPairs": "pairs",
    "behaviour": "behaving",
    "capital_country": "capitals",
    "docstring": "docstrings",
    "english_documents": "english_texts",
    "english_passages": "english_texts",
    "for_toy": "toys",
    "from_jsonl": "jsonl",
    "from_tokens": "token_tensors",
    "gendered_pronoun": "pronouns",
    "greater_than": "greater_than_years",
    "induction": "repetition",
    "ioi": "indirect_objects",
    "passage_tokens": "english_texts",
    "repeated_random_tokens": "repetition",
    "repeated_text": "repeated_spans",
    "subject_verb_agreement": "agreement",
}
__all__ = [
    "Behaviour",
    "Metric",
    "PromptPairs",
    "behaviour",
    "capital_country",
    "docstring",
    "english_documents",
    "english_passages",
    "for_toy",
    "from_jsonl",
    "from_tokens",
    "gendered_pronoun",
    "greater_than",
    "induction",
    "ioi",
    "metrics",
    "passage_tokens",
    "repeated_random_tokens",
    "repeated_text",
    "subject_verb_agreement",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.tasks.{_NAMES[name]}"), name)
    if name == "metrics":
        return importlib.import_module("interp.tasks.metrics")
    raise AttributeError(f"module 'interp.tasks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
