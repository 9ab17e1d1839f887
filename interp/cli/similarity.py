"""How alike are the representations of a model's layers, or those of two models?

By linear or RBF CKA (debiased or biased), CCA, SVCCA, PWCCA, Procrustes, RSA or
mutual nearest neighbours: --measure, one at a time.

Try:
    interp similarity                        all pairs of layers, linear CKA
    interp similarity --estimator biased     the plain CKA
    interp similarity --kernel rbf --bandwidth 0.5   CKA with a radial kernel
    interp similarity --measure svcca        or cca, pwcca, procrustes
    interp similarity --measure rsa          ranks of distances
    interp similarity --measure mutual_knn --k 10  neighbours in common
    interp similarity --standardise          no dimension outweighs others
    interp similarity --other untrained      what needs no training
    interp similarity --other gpt2           two tokenizers, by characters
    interp similarity --other gpt2 --align word       by words
    interp similarity --other gpt2 --align document   a text, one point
    interp similarity --minibatch 512 --n 200 --n-tokens 1000   streamed
    interp similarity --model toy/induction --n 20 --n-tokens 6

Layer L is the residual stream that enters block L, the last the output of the last block: so counts interp lens too;
interp probe counts the stream after block L, layer L + 1 here. Intervals are over texts; the permutation test
exchanges whole texts and is corrected for the number of pairs. What may mislead in the very case (dimensions or
tokens that outweigh all others, too few tokens) is said in notes. The defaults take about 100 seconds of processor
time (SmolLM2, 10,000 tokens); --n 20 --n-tokens 126 a quarter or less. cca, svcca, pwcca and procrustes decompose
every pair, and have intervals and a test for up to 12 pairs only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor

from interp import similarity
from interp.cli.answering import Answer, Maybe, Options, answering, as_table
from interp.errors import InputError
from interp.hooks import sites as all_sites
from interp.models import identity, load_model
from interp.models.untrained import untrained_twin
from interp.results import FEWEST
from interp.similarity.choosing import check_numbers, options_of
from interp.similarity.measuring import MOST_TOKENS, USED_BY, MeasureName
from interp.similarity.neighbours import check_k
from interp.similarity.similarity_map import SimilarityMap
from interp.similarity.streaming import check_minibatch
from interp.tasks.english_texts import english_documents, english_passages, passage_tokens

FEWEST_TEXTS = 2
FEWEST_TOKENS = 2
ENGLISH, RANDOM, UNTRAINED = "english", "random", "untrained"
WORDS_A_TOKEN = 0.6
"""So few words have at most as many tokens as asked for, in every tokenizer for English."""


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp similarity`."""

    other: Maybe[str] = None
    """A second model, or "untrained": the same architecture with the weights training starts from."""
    measure: MeasureName = "cka"
    """What is computed for every pair of layers; its options are below (--kernel, --estimator, ...)."""
    site: Literal["stream", "attn_out", "mlp_out", "mlp_post", "z"] = "stream"
    """What is compared of every layer: the residual stream, or what a part of the block makes."""
    text: str = ENGLISH
    """english: presidents' messages, fetched once (random where a model has no tokenizer);
    random: random tokens; or a .txt file or a folder of them, each one text."""
    n: int = 40
    """Texts, 2 or more; intervals and the permutation test draw them and need 5."""
    n_tokens: int = 251
    """Tokens of each text, of which the first is left out."""
    align: Literal["auto", "token", "character", "word", "document"] = "auto"
    """How tokens of two tokenizers are paired; auto and character: where both have read the same
    characters; word: at the ends of words; document: the mean over each text is one point;
    token: one by one, for the same tokenizer."""
    kernel: Literal["linear", "rbf"] = "linear"
    """cka: the kernel."""
    bandwidth: float = 1.0
    """cka with rbf: its width in median distances."""
    estimator: Literal["debiased", "biased"] = "debiased"
    """cka: without or with the bias of few tokens."""
    minibatch: Maybe[int] = None
    """cka: stream, averaging over minibatches of so many tokens (default: keep all tokens)."""
    variance: float = 0.99
    """svcca: share of the variance that is kept."""
    distance: Literal["correlation", "cosine", "euclidean"] = "correlation"
    """rsa: the distance between tokens."""
    k: int = 10
    """mutual_knn: neighbours."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """mutual_knn: nearest by the cosine (as Huh et al. 2024) or by Euclidean distance."""
    standardise: bool = False
    """Give every dimension the same variance first."""
    keep_outliers: bool = False
    """Keep tokens over ten times as long as the median one."""
    permutations: Maybe[int] = None
    """Draws of the permutation test, 0 for none (default: 200 where that is cheap)."""
    bos: bool = False
    """Begin every text with the BOS token, which is then what is left out."""


def main(config: Config, console: Console | None = None) -> int:
    """Compare, print the layers beside each other, keep everything in a run."""
    _check(config)
    title = f"Similarity of the representations of {config.model}" + (f" and {config.other}" if config.other else "")
    with answering("similarity", config, title=title, console=console) as answer:
        other = _other(answer, config)
        found = answer.step("similarity", lambda: _measure(answer, config, other))
        _show(answer, found, config)
    return 0


def _other(answer: Answer, config: Config) -> Any:
    if config.other is None:
        return None
    if config.other == UNTRAINED:
        return untrained_twin(answer.model, config.seed)
    return load_model(config.other, device=config.device)


def _measure(answer: Answer, config: Config, other: Any) -> SimilarityMap:
    model = answer.model
    reading: dict[str, Any] = {
        "sites": _sites(model, config.site),
        "other_sites": None if other is None else _sites(other, config.site),
        "drop_outliers": not config.keep_outliers,
    }
    texts, more = _texts(answer, config, other)
    measured: dict[str, Any] = {"standardise": config.standardise, "seed": config.seed}
    measured |= {name: getattr(config, name) for name in USED_BY.get(config.measure, ())}
    measured["n_permutations"] = config.permutations
    if config.minibatch is not None:
        return similarity.cka(model, texts, other, minibatch=config.minibatch, **reading, **more, **measured)
    read = similarity.represent(model, texts, other, **reading, **more)
    return similarity.compare(read, config.measure, **measured)


def _check(config: Config) -> None:
    """Refuse, before a model is read, too few texts and options of another measure, which would change nothing."""
    if config.n < FEWEST_TEXTS:
        raise InputError(
            f"--n {config.n}: {'one text is' if config.n == 1 else f'{config.n} texts are'} too few, since tokens of a "
            f"text resemble each other; give --n {FEWEST_TEXTS} or more, {FEWEST} or more for intervals and a test"
        )
    if config.n_tokens < FEWEST_TOKENS:
        raise InputError(
            f"--n-tokens {config.n_tokens}: the first token of a text is left out, and nothing would be left; give "
            f"--n-tokens {FEWEST_TOKENS} or more"
        )
    if config.minibatch is not None and config.measure != "cka":
        raise InputError("--minibatch streams CKA; leave it out for other measures")
    usual = Config()
    for measure, names in USED_BY.items():
        for name in names if measure != config.measure else ():
            if getattr(config, name) != getattr(usual, name):
                raise InputError(f"--{name} is an option of {measure}; leave it out for {config.measure}")
    if config.kernel == "linear" and config.bandwidth != usual.bandwidth:
        raise InputError("--bandwidth is the width of a radial kernel; give --kernel rbf too, or leave it out")
    _check_values(config)


def _check_values(config: Config) -> None:
    """Refuse values that cannot be, and a file or folder that holds no texts or one."""
    options_of(config.measure, {name: getattr(config, name) for name in USED_BY.get(config.measure, ())})
    if config.measure == "mutual_knn" and config.align != "document":
        check_k(config.k, min(MOST_TOKENS["mutual_knn"], config.n * (config.n_tokens - 1)))
    n = config.n if config.text in (ENGLISH, RANDOM) else _texts_of(config.text, config.n)
    check_numbers(n, config.permutations)
    if config.minibatch is not None:
        check_minibatch(config.minibatch, config.estimator, None, config.permutations)


def _sites(model: Any, kind: str) -> list[all_sites.Site] | None:
    if kind == "stream":
        return None
    return [all_sites.Site(kind, layer) for layer in range(int(model.cfg.n_layers))]


def _texts(answer: Answer, config: Config, other: Any) -> tuple[Any, dict[str, Any]]:
    """Texts or token ids as the models can take them, with how they are read; says what they are."""
    models = [answer.model] if other is None else [answer.model, other]
    source = None if config.text == ENGLISH else config.text
    if config.text == RANDOM or (config.text == ENGLISH and any(model.tokenizer is None for model in models)):
        return _random_tokens(answer, config, models), {"align": "token" if config.align == "auto" else config.align}
    n = config.n if source is None else _texts_of(source, config.n)
    hashes = {identity(model)["tokenizer_sha256"] for model in models}
    if len(hashes) == 1 and config.align in ("auto", "token"):
        answer.say(f"{n} passages of {config.n_tokens} tokens")
        tokens = passage_tokens(
            answer.model, n, config.n_tokens, seed=config.seed, prepend_bos=config.bos, source=source
        )
        return tokens, {"align": "token"}
    n_words = max(1, int(config.n_tokens * WORDS_A_TOKEN))
    answer.say(f"{n} passages of {n_words} words")
    passages = english_passages(n, n_words=n_words, seed=config.seed, source=source)
    return [text for _, text in passages], {"align": config.align, "prepend_bos": config.bos}


def _texts_of(source: str, most: int) -> int:
    """How many texts a file or folder gives."""
    n = min(most, sum(1 for _ in english_documents(source)))
    if n < FEWEST_TEXTS:
        raise InputError(
            f"{source} is one text, which is too few, since tokens of a text resemble each other; give a folder of "
            f"{FEWEST_TEXTS} .txt files or more, {FEWEST} or more for intervals and a test"
        )
    return n


def _random_tokens(answer: Answer, config: Config, models: list[Any]) -> Tensor:
    n_vocab = min(int(model.cfg.d_vocab) for model in models)
    longest = min(int(model.cfg.n_ctx) for model in models)
    n_tokens = min(config.n_tokens, longest)
    answer.say(f"{config.n} texts of {n_tokens} random tokens")
    generator = torch.Generator().manual_seed(config.seed)
    return torch.randint(n_vocab, (config.n, n_tokens), generator=generator)


def _show(answer: Answer, found: SimilarityMap, config: Config) -> None:
    """Tables are printed; the report shows the map first, and the rest as a figure with intervals."""
    settings = found.settings
    about = f"{config.measure} over {settings['n']} {settings['unit']} of {settings['n_documents']} texts"
    beside = "same_layer" if settings["two_models"] else "next_layer"
    if beside in found.values:
        which = "both models at the same layer" if settings["two_models"] else "each layer with the next"
        _print(answer, found.to_frame(beside), f"{about}: {which}{_counted(settings)}")
    if settings["two_models"] or beside not in found.values:
        _print(answer, found.best_matches(), f"{about}: the layer most like it{_counted(settings)}")
    answer.conclude(*similarity.summary(found))
    for note in found.notes:
        answer.say(f"note: {note}")


def _print(answer: Answer, frame: pd.DataFrame, title: str) -> None:
    answer.console.print(Text(title, style="bold"), soft_wrap=True)
    answer.console.print(as_table(frame))


def _counted(settings: Mapping[str, Any]) -> str:
    """What layers are counted by, behind the title of a table."""
    meaning = settings["layers"][0]
    return f" (layer L: {meaning} L)" if meaning else ""
