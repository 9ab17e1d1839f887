"""How alike representations are: between layers, between models, between arrays of your own.

Centred kernel alignment (linear, RBF; plain, debiased, streamed), canonical correlations (CCA, SVCCA, PWCCA),
orthogonal Procrustes, representational similarity analysis, mutual nearest neighbours; with intervals over documents,
permutation tests, and notes on what may mislead.

>>> texts = [text for _, text in interp.tasks.english_passages(40, n_words=200)]
>>> found = interp.similarity.cka(model, texts)                     # all pairs of layers
>>> interp.similarity.summary(found), found.notes, found.figure()
>>> read = interp.similarity.represent(model, texts, other)         # another model; any widths and tokenizers
>>> interp.similarity.compare(read, "mutual_knn", k=10).best_matches()
>>> interp.similarity.cka_of(x, y)                                  # arrays [n, d1] and [n, d2]
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "MEASURES": "measuring",
    "Options": "measuring",
    "Representations": "reading",
    "SimilarityMap": "similarity_map",
    "canonical_correlations": "arrays",
    "cca_of": "arrays",
    "cka": "alignment_of_models",
    "cka_of": "arrays",
    "compare": "comparing",
    "compare_arrays": "comparing",
    "mutual_knn_of": "arrays",
    "procrustes_of": "arrays",
    "pwcca_of": "arrays",
    "represent": "reading",
    "rsa_of": "arrays",
    "summary": "sentences",
    "svcca_of": "arrays",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.similarity.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.similarity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
