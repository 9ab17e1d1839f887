"""Find a circuit, the edges of a model that carry a behaviour, and judge it by what a random circuit does as well.

Edges lead from what writes (the embedding, heads, MLPs) to what reads (queries, keys, values, MLPs, logits). They are
scored, a search picks some, and the model is run on prompts of another seed with all other edges carrying what they
carry in the corrupt prompts. What is left of the metric is the circuit's faithfulness: 1 as the model, 0 as no edge.

Try:
    interp circuit                                   IOI, by EAP-IG
    interp circuit --quick                           fewer prompts and runs
    interp circuit --task greater-than --search greedy --n-edges 1000
    interp circuit --task induction --method eap --value zero
    interp circuit --model toy/induction --task toy --search acdc
    interp circuit --positions IO S2 end --n-edges 200  told apart by position
    interp circuit --circuit circuit.json --seed 7   of an earlier run
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from interp.circuits import Circuit
from interp.circuits.edge_scores import METHODS, SHARES
from interp.circuits.evaluation.findings import RULE, finding
from interp.cli import circuit_steps, circuit_tables
from interp.cli.answering import Answer, Maybe, Several, answering
from interp.cli.fitting import fitting_length
from interp.cli.tasking import MetricOptions, choose_task
from interp.errors import InputError, unknown
from interp.tasks import PromptPairs

QUICK_PAIRS, QUICK_LENGTH = 8, 15


@dataclass(frozen=True)
class Config(MetricOptions):
    """Options of `interp circuit`."""

    seed: int = 0
    """Decides every random draw: the circuit is found on the prompts of this seed and judged on those of the next one,
    and random circuits, resamples and knock-outs are drawn by this one (of a file of prompts, every second pair
    judges)."""
    method: str = "eap-ig"
    """How edges are scored: eap, eap-ig, eap-ig-activations, eap-qk-fix, exact (a run an edge), ifr,
    edge-pruning, ugs, hisp, acdc."""
    steps: int = 5
    """Runs that eap-ig and eap-ig-activations average gradients over."""
    at: Literal["clean", "corrupt"] = "clean"
    """The run that edges are changed in: clean scores what corrupting an edge costs."""
    search: Literal["top", "greedy", "stable", "acdc", "hierarchical"] = "top"
    """How edges are picked:
    top: the largest scores; greedy: the same from the logits backwards, connected;
    stable: those that most resamples of the prompts have among their top ones;
    acdc: every edge is removed that the metric does not miss, a run an edge; hierarchical: heads first, inexact."""
    n_edges: Maybe[int] = None
    """Edges to pick, by top, greedy and stable (default: 5 % of them, at least 20)."""
    threshold: Maybe[float] = None
    """For acdc and hierarchical: how much removing one edge may cost, in the metric's unit
    (default: 1 % of m(clean) - m(corrupt); say it for kl)."""
    value: Literal["counterfactual", "zero", "mean", "resample"] = "counterfactual"
    """What edges outside the circuit carry: their value in the paired corrupt prompt, nothing,
    the mean over corrupt prompts, or their value in another corrupt prompt."""
    damage: Literal["absolute", "signed", "kl"] = "absolute"
    """For acdc and hierarchical, what removing edges may cost: the metric moves, either way (absolute) or away from
    the answer (signed), or the distribution of the next token does (kl, in nats)."""
    circuit: Maybe[str] = None
    """Judge this saved circuit (circuit.json of an earlier run) instead of finding one."""
    positions: Several[str] = ()
    """Roles of the prompts, as S1 S2 end (of IOI): every edge is there once a role, at the role's position. Name the
    one at which the answer is read, too (end). Edges at all other positions are never ablated: what the clean prompt
    has there stays (default: one edge for all positions)."""
    known: Several[str] = ()
    """Heads and MLPs that are known to matter, as a9.9 m0, to compare with
    (default: the published heads, for IOI on GPT-2 small)."""
    n_random: Maybe[int] = None
    """Random circuits of the same size, connected and alike in every layer (default: 100, or 30 with --quick;
    0: none, and no tests against them)."""
    quick: bool = False
    """Less of everything: at most 8 pairs (of induction: 15 tokens, repeated), 3 steps, 30 random circuits of the
    circuit's size and 5 of other sizes (else 100 and 20), every second size; left out are the tests of independence and
    minimality, and the knock-outs that measure completeness."""
    batch_size: Maybe[int] = None
    """Prompts a pass (default: as many as the memory budget allows)."""
    memory_budget: int = 1024
    """Megabytes that a pass may take beside the model's weights."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, search, judge, print all three in short, keep everything in a run."""
    _check(config)
    if config.quick:
        config = replace(config, n=min(config.n or QUICK_PAIRS, QUICK_PAIRS))
    behaviour = circuit_tables.behaviour(config.task)
    with answering("circuit", config, title=f"A circuit for {behaviour} in {config.model}", console=console) as a:
        task, fresh = _tasks(a, config)
        graph = circuit_steps.graph_of(a.model, task, config)
        circuit_steps.check_names(graph, config.known)
        a.say(circuit_tables.graph_line(graph))
        a.say(circuit_steps.memory_line(a.model, task, graph, config))
        if config.circuit:
            scores, edges = None, circuit_steps.saved(a, task, graph, config.circuit)
        else:
            scores, edges = circuit_steps.found(a, task, graph, config)
        file = edges.circuit.save(a.run.path("circuit.json"))
        report = a.step("evaluation", lambda: circuit_steps.judged(a, fresh, edges.circuit, scores, config))
        exact = circuit_steps.exactly(a, task, edges, config)
        circuit_tables.tell(a, edges, report, exact)
        a.say(f"circuit: {file}")
        rule = [RULE] if "random" in report.values else []  # it is about them
        a.conclude(finding(report, behaviour, config.model), *rule)
    return 0


def _check(config: Config) -> None:
    """Refuse what contradicts itself before a model is loaded."""
    picks = config.search in circuit_steps.SCORED
    if config.method not in METHODS:
        raise unknown("method that scores edges", config.method, METHODS)
    if config.method in SHARES and config.search in ("top", "stable"):
        raise InputError(f"{config.method} compares the writers of one reader only; use --search greedy")
    if config.threshold is not None and picks:
        raise InputError(f"--threshold is for acdc and hierarchical; --search {config.search} takes --n-edges")
    if config.n_edges is not None and not picks:
        raise InputError(f"--n-edges is for top, greedy and stable; --search {config.search} takes --threshold")
    if config.n_edges is not None and config.n_edges < 1:
        raise InputError(f"--n-edges is how many edges the circuit has, at least 1, not {config.n_edges}")
    if config.steps < 1:
        raise InputError(f"--steps is how many runs gradients are averaged over, at least 1, not {config.steps}")
    if config.n == 1:
        raise InputError("the task has one pair of prompts, which says nothing about how much scores vary; give --n 2 "
                         "or more")  # fmt: skip
    if config.task.endswith(".jsonl") and not Path(config.task).expanduser().is_file():
        raise InputError(f"there is no file {config.task}; --task takes a .jsonl file of prompt pairs or a task's name")
    if config.circuit:
        Circuit.load(Path(config.circuit).expanduser())
    if config.circuit and (config.n_edges is not None or config.threshold is not None):
        raise InputError("--circuit judges a circuit that was found before; leave out --n-edges and --threshold")
    if config.memory_budget < 1:
        raise InputError(f"--memory-budget is in megabytes, at least 1, not {config.memory_budget}")
    if config.n_random is not None and config.n_random < 0:
        raise InputError(f"--n-random is a number of circuits, 0 for none, not {config.n_random}")
    if config.batch_size is not None and config.batch_size < 1:
        raise InputError(f"--batch-size is how many prompts share a pass, at least 1, not {config.batch_size}")
    if config.damage == "kl" and not picks and config.threshold is None:
        raise InputError("a KL divergence has no default --threshold; give one, such as 0.01 (nats)")


def _tasks(answer: Answer, config: Config) -> tuple[PromptPairs, PromptPairs]:
    """The prompts that a circuit is found on, and others to judge it on."""
    config = _shorter(answer, config) if config.quick else config
    task = choose_task(answer, config)
    if not config.task.endswith(".jsonl"):
        return task, choose_task(answer, replace(config, seed=config.seed + 1), notes=False)
    if len(task) < 4:
        answer.say("note: too few pairs to keep some for judging: the circuit is judged on those it is found on")
        return task, task
    return task[::2], task[1::2]


def _shorter(answer: Answer, config: Config) -> Config:
    """Repetitions of fewer tokens: these prompts are five times as long as the other tasks'."""
    options = config.task_options
    if config.task == "induction" and not options:
        options = (f"length={fitting_length(answer.model, QUICK_LENGTH, n_repeats=2, bos=config.bos, distinct=2)}",)
    return replace(config, task_options=options)
