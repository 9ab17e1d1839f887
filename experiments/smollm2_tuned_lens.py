"""A tuned lens for SmolLM2, small: what it adds to the logit lens on texts it has not seen, and to patchscopes.

    python experiments/smollm2_tuned_lens.py
    python experiments/smollm2_tuned_lens.py --only patchscope-tower patchscope-queen    no lens, half a minute

Trains on presidents' messages, evaluates on messages held out, looks at two prompts, at the directions that predictions
hang on, and at patchscopes. Writes a run directory with the lens and a report; an interrupted run goes on where it
stopped. About nine minutes of processor time on one core, most of it training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import interp
from interp.lens import LensTraining, TunedLens, split_documents
from interp.results import Result
from interp.runs import Run, open_run
from interp.viz import Report

PROMPTS = {
    "capital": "The capital of France is the city of",
    "ioi": "When Mary and John went to the store, John gave a drink to",
}
ENTITIES = {"tower": "The Eiffel Tower", "queen": "Queen Elizabeth"}


def main() -> None:
    """Compute every step, or load what is there, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--n-steps", type=int, default=LensTraining.n_steps)
    parser.add_argument("--n", type=int, default=24, help="held-out contexts")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps; the lens is trained if one needs it")
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    settings = {"model": options.model, "n_steps": options.n_steps, "n": options.n, "seed": 0}
    settings |= {"only": options.only} if options.only else {}
    with open_run("smollm2_tuned_lens", settings, root=options.out) as run:
        model = interp.load_model(options.model)
        lens = cache(partial(trained, run, model, LensTraining(n_steps=options.n_steps)))
        steps = questions(model, lens, options.n)
        if unknown := set(options.only or ()) - set(steps):
            parser.error(f"no step {', '.join(sorted(unknown))}; there are {', '.join(steps)}")
        for name in options.only or steps:
            run.step(name, steps[name])
        print(report(run))


def documents(held_out: bool) -> Any:
    """One side of the split of the messages."""
    return split_documents(interp.tasks.english_documents(), held_out)


def trained(run: Run, model: Any, settings: LensTraining) -> TunedLens:
    """The lens of the run, trained or from its directory."""
    directory = run.path("lens")
    if not (directory / "config.json").exists():
        found = interp.lens.train_tuned_lens(model, documents(False), settings, directory=directory, every=5)
        found.save(directory)
    return TunedLens.load(directory)


def questions(model: Any, lens: Callable[[], TunedLens], n: int) -> dict[str, Callable[[], Result]]:
    """The steps by name; only those that read through the lens ask for it."""
    steps: dict[str, Callable[[], Result]] = {
        "training": lambda: interp.lens.learning_curve(model, lens()),
        "evaluation": lambda: interp.lens.evaluate_tuned_lens(model, lens(), documents(True), n=n, positions=12),
    }
    for name, prompt in PROMPTS.items():
        steps[f"{name}-tuned"] = partial(_through, model, prompt, lens)
        steps[f"{name}-logit"] = partial(interp.lens.trajectory, model, prompt)
    steps["patchscope-precision"] = lambda: interp.lens.patchscope_precision(
        model, documents(True), lens=lens(), n=48, length=32
    )
    for name, entity in ENTITIES.items():
        steps[f"patchscope-{name}"] = partial(interp.lens.patchscope, model, entity, n_tokens=12)
    steps["basis"] = lambda: interp.lens.causal_basis(
        model, lens(), documents(True), layers=[10, 20], k=4, n_random=4, context=64, n=12, n_iterations=8
    )
    return steps


def _through(model: Any, prompt: str, lens: Callable[[], TunedLens]) -> Result:
    return interp.lens.trajectory(model, prompt, lens())


def report(run: Run) -> Path:
    """Every result with its figures, and the generated descriptions as tables."""
    page = Report("A tuned lens for SmolLM2")
    for name, result in run.results().items():
        page.section(name)
        if name.startswith("patchscope-") and name != "patchscope-precision":
            page.add(result.descriptions(), caption=f"What {ENTITIES[name.split('-')[1]]!r} becomes")  # type: ignore[attr-defined]
        page.add(result)
    return page.write(run.path("report.html"))


if __name__ == "__main__":
    main()
