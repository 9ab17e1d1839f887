"""The IOI experiment end to end on a tiny model: every section, whether the model can do the task or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from interp import tasks
from interp.reproduce import Experiment, indirect_object_identification, ioi_paths, ioi_roles, run_ioi
from interp.reproduce.ioi_evidence import Condition
from interp.reproduce.ioi_paths import QUERIES, Search, paths_backwards, paths_to_logits
from interp.reproduce.ioi_role_table import HeadRoles
from interp.reproduce.ioi_settings import IoiSettings
from interp.runs import open_run
from interp.tasks.indirect_objects import OBJECTS, PLACES
from interp.tasks.names import IOI_NAMES
from interp.viz import Report
from tests.tasks.conftest import template_words, word_tokenizer
from tests.tiny_models import tiny

SETTINGS = IoiSettings(
    n=6,
    n_maps=5,
    n_logits=6,
    n_queries=5,
    n_values=5,
    n_keys=5,
    n_copying=5,
    n_random=5,
    corruption="abc",
    edges=False,
)
ALWAYS = {"behaviour", "lens", "components", "heads", "sources", "orders", "map-stream", "map-heads", "role-attention"}
ALWAYS |= {"random-scores", "name-copying", "paths-logits", "roles"}
FOUND = {"paths-queries", "paths-values", "paths-keys", "backups", "attention"}


def reading_model(sign: float) -> Any:
    """A random model of four layers that knows the words of the prompts; sign: of its logits."""
    tokenizer = word_tokenizer([*template_words(), *PLACES, *OBJECTS, *IOI_NAMES])
    config = TransformerBridgeConfig(
        n_layers=4,
        n_heads=2,
        d_model=16,
        d_head=8,
        d_mlp=32,
        n_ctx=64,
        d_vocab=len(tokenizer),
        act_fn="gelu",
        normalization_type="LN",
        initializer_range=0.4,
        init_weights=True,
        seed=3,
        device="cpu",
    )
    torch.manual_seed(3)
    model = TransformerBridge.boot_native(config, tokenizer=tokenizer).eval().requires_grad_(False)
    model.unembed.weight.mul_(sign)
    return model


def difference(model: Any) -> float:
    task = tasks.ioi(model, n=SETTINGS.n_logits)
    return float((task.metric(model(task.clean)) - task.corrupt_metric(model(task.corrupt))).mean())


@pytest.fixture(scope="module")
def sides() -> dict[str, Any]:
    """A model that prefers the indirect object a little, and its opposite."""
    sign = 1.0 if difference(reading_model(1.0)) > 0 else -1.0
    return {"does it": reading_model(sign), "fails": reading_model(-sign)}


@pytest.fixture
def any_head_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that ask for the sign of the mean effect alone: random heads do nothing reliably, and look nowhere."""

    def signed(name: str, share: float, sign: int) -> Condition:
        return Condition(name, (name,), lambda seen: sign * seen[name].share > 0)

    monkeypatch.setattr(ioi_roles, "RULES", tuple(replace(rule, looks=()) for rule in ioi_roles.RULES))
    for module in (ioi_roles, ioi_paths):
        monkeypatch.setattr(module, "counts", signed)


@pytest.fixture(autouse=True)
def circuit_of(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The roles that the sections on the circuit are given; these sections have their own tests."""
    given: list[dict[str, Any]] = []

    def noted(experiment: Experiment, model: Any, task: Any, maps: Any, roles: Any, settings: Any) -> None:
        given.append(roles)

    if request.function is not test_the_whole_experiment:
        monkeypatch.setattr(indirect_object_identification, "circuit_sections", noted)
    return given


def go(model: Any, root: Path, settings: IoiSettings = SETTINGS) -> tuple[Experiment, dict[str, Any], str]:
    report = Report("tiny")
    with open_run("ioi", {"n": settings.n}, root=root) as run:
        experiment = run_ioi(model, settings, run, report)
        results = {name.removeprefix("ioi-"): result for name, result in run.results().items()}
    if experiment.headline:
        report.headline([(one.name, one.value, one.sample, one.interval, one.unit) for one in experiment.numbers()])
    return experiment, results, report.html


def test_quick_asks_the_same_with_fewer_prompts() -> None:
    full, quick = IoiSettings(), IoiSettings.quick()
    for name in ("n", "n_maps", "n_logits", "n_queries", "n_values", "n_keys", "n_copying", "n_random"):
        assert 1 < getattr(quick, name) < getattr(full, name)
    assert (quick.seed, quick.corruption, quick.prepend_bos) == (full.seed, full.corruption, full.prepend_bos)


def test_the_whole_experiment(sides: dict[str, Any], any_head_will_do: None, tmp_path: Path) -> None:
    experiment, results, page = go(sides["does it"], tmp_path)
    assert set(results) >= ALWAYS | FOUND
    table = experiment.table()
    table = table[table.low.notna()]  # three prompts of each order are too few for an interval
    assert len(table) > 15
    assert ((table.low <= table.value) & (table.value <= table.high)).all()
    roles = results["roles"]
    assert isinstance(roles, HeadRoles)
    assert tuple(roles.roles) == ioi_roles.ROLES
    assert any(what.startswith("name mover: ") for what in table.what)
    # Every step asks about the heads of the step before, at the position of the paper.
    asked = {name: results[f"paths-{name}"].settings for name in ("logits", "queries", "values", "keys")}
    assert asked["logits"]["receivers"] == ["logits"]
    for name, role, letter, position in (
        ("queries", ioi_roles.POSITIVE, "q", "end"),
        ("values", "S-inhibition", "v", "S2"),
        ("keys", "induction", "k", "S1+1"),
    ):
        expected = sorted(head for head in roles.roles[role] if head[0] > 0)
        assert asked[name]["receivers"] == [f"{layer}.{head}.{letter}" for layer, head in expected]
        assert asked[name]["positions"] == position
        assert (asked[name]["direction"], asked[name]["mlps"]) == ("noise", "recompute")
    assert results["backups"].ablated == tuple(sorted(roles.roles[ioi_roles.POSITIVE]))
    for title in ("which heads move the logits", "tells the name writers", "backup name movers", "heads by role"):
        assert title in page
    circuit = {name for name in results if name.startswith("circuit-")}
    assert circuit
    assert "beside the published heads" not in page  # this is not GPT-2 small
    reads_as_a_paper(page)
    assert "Told backwards from the logits." in page


def reads_as_a_paper(page: str) -> None:
    """An abstract, words at the start of every section, a caption under every figure, and no names out of the code."""
    assert '<div class="abstract">' in page
    sections = re.findall(r"<section.*?</section>", page, re.DOTALL)
    assert len(sections) > 8
    for section in sections:
        assert re.match(r'<section[^>]*><h2>.*?</h2><div class="text"><p>[^<]', section), section[:300]
    captions = [re.sub("<[^>]+>", "", found) for found in re.findall(r"<figcaption>.*?</figcaption>", page, re.DOTALL)]
    assert len(captions) == page.count("<figure")
    for caption in captions:
        assert len(caption) > 40, caption
        assert not re.search(r"logit_difference|resid_pre|nan", caption), caption


def test_a_random_model_has_no_roles_and_is_told_so(
    sides: dict[str, Any], circuit_of: list[dict[str, Any]], tmp_path: Path
) -> None:
    experiment, results, page = go(sides["does it"], tmp_path)
    assert set(results) == ALWAYS
    assert not any(results["roles"].roles.values())
    assert circuit_of == [dict.fromkeys(ioi_roles.ROLES, ())]
    assert "0 heads have a role" in page
    assert "so this ends here" in page
    assert "nothing that could be backed up" in page
    reads_as_a_paper(page)
    assert len(experiment.table())


def test_a_model_that_fails_the_task_is_told_so(sides: dict[str, Any], any_head_will_do: None, tmp_path: Path) -> None:
    _, results, page = go(sides["fails"], tmp_path)
    assert set(results) == ALWAYS
    assert "this model does not do the task" in page
    reads_as_a_paper(page)
    assert not any(results["roles"].roles.values())


def test_an_interrupted_search_goes_on_where_it_stopped(
    sides: dict[str, Any], any_head_will_do: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before the backups: the second session patches no path again and ends as one that was left alone."""
    from interp import patching
    from interp.reproduce import ioi_discovery

    whole, calls = patching.path_effects, []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args[2:])
        return whole(*args, **options)

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(patching, "path_effects", counted, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(ioi_discovery, "backup_heads", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(sides["does it"], tmp_path / "cut")
    assert len(calls) == 4
    _, resumed, _ = go(sides["does it"], tmp_path / "cut")
    assert len(calls) == 4
    _, alone, _ = go(sides["does it"], tmp_path / "alone")
    assert resumed["roles"].roles == alone["roles"].roles
    torch.testing.assert_close(
        resumed["roles"].values["value"].data, alone["roles"].values["value"].data, equal_nan=True
    )


def test_a_model_without_a_tokenizer_gets_a_report_that_says_so(tmp_path: Path) -> None:
    experiment, results, page = go(tiny("native"), tmp_path)
    assert not results
    assert experiment.table().empty
    assert "cannot be given the prompts" in page
    assert len(experiment.skipped) == 1
    assert "cannot be given the prompts of this experiment" in experiment.skipped[0]
    assert '<div class="headline">' not in page


def test_what_cannot_be_measured_is_left_out(
    sides: dict[str, Any], any_head_will_do: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interp import heads
    from interp.errors import InputError

    def refused(*args: Any, **options: Any) -> None:
        raise InputError("this model's heads are not what its weights say")

    monkeypatch.setattr(heads, "name_copying", refused, raising=False)
    _, results, page = go(sides["does it"], tmp_path)
    assert set(results) >= (ALWAYS - {"name-copying"}) | {"paths-queries"}
    assert "this model&#x27;s heads are not what its weights say" in page or "heads are not what its weights" in page


@pytest.fixture
def search(sides: dict[str, Any], tmp_path: Path) -> Iterator[Callable[[], Search]]:
    with open_run("search", {}, root=tmp_path) as run:
        experiment = Experiment(sides["does it"], run, Report("tiny"), "ioi")
        yield lambda: Search(experiment, tasks.ioi(experiment.model, n=4))


def test_evidence_of_a_path_reaches_over_all_layers(search: Callable[[], Search], any_head_will_do: None) -> None:
    """Heads after the last receiver send nothing to it: not measured, and so no rule is met."""
    here = search()
    paths_to_logits(here, 4)
    assert not here.evidence[ioi_roles.LOGITS].mean.isnan().any()
    paths_backwards(here, QUERIES, 3)
    seen = here.evidence[ioi_roles.QUERIES]
    last = max(layer for layer, _ in here.heads(ioi_roles.POSITIVE))
    assert seen.mean.shape == (4, 2)
    assert seen.n == 3
    assert seen.mean[last:].isnan().all()
    assert not seen.mean[:last].isnan().any()
