"""One library training one dictionary at a time, for `dictionary_training.py`, which says over stdin when and how far.

Runs in the library's own environment and imports nothing else. Commands and answers are JSON, a line each:

    {"do": "begin", ...a task...}        {"described": "..."}
    {"do": "steps", "n": 5}              {"wall": seconds, "cpu": seconds}, of the steps alone
    {"do": "floor", "n": 5}              {"float32": seconds a product, "bfloat16": ...}, of the encoder's product
    {"do": "save", "path": "..."}        {}, the dictionary as it would be used, in SAELens's layout

A task has library, architecture, d_in, d_sae, k, seed, n_steps, batch_size, lr, prefixes, coefficient, bandwidth,
threshold and data, a safetensors file with x [tokens, d_in]. Every library gets the same batches in the same order.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

NEVER = 10_000_000
"""Tokens after which a latent counts as dead: no library's loss for the dead sets in within a benchmark."""


def main() -> None:
    """Answer commands until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    torch.set_num_threads(int(sys.argv[1]))
    training: Training | None = None
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "begin":
            training = None
            training = Training(SimpleNamespace(**command))
            answer: dict[str, Any] = {"described": training.described}
        else:
            assert training is not None
            answer = training.answer(command)
        print(json.dumps(answer), file=answers, flush=True)


class Training:
    """A library at its task: `step(i, x)` trains on a batch, `save(path)` writes what came out."""

    def __init__(self, task: Any) -> None:
        self.task = task
        with safe_open(task.data, "pt") as file:
            self.x = file.get_tensor("x")
        self.order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(task.seed))
        self.done = 0
        torch.manual_seed(task.seed)
        self.step, self.save, self.described = LIBRARIES[task.library](task)

    def batch(self, number: int) -> Tensor:
        """The batch of a step."""
        places = (torch.arange(self.task.batch_size) + number * self.task.batch_size) % len(self.order)
        return self.x[self.order[places]]

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked for."""
        if command["do"] == "steps":
            batches = [self.batch(self.done + i) for i in range(command["n"])]
            wall, cpu = time.perf_counter(), time.process_time()
            for x in batches:
                self.step(self.done, x)
                self.done += 1
            return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        if command["do"] == "floor":
            return {name: self.product(getattr(torch, name), command["n"]) for name in ("float32", "bfloat16")}
        self.save(Path(command["path"]))
        return {}

    def product(self, dtype: torch.dtype, n: int) -> float:
        """Seconds of one product of a batch and the encoder's weights."""
        x = self.batch(0).to(dtype)
        weight = torch.randn(self.task.d_sae, self.task.d_in, generator=torch.Generator().manual_seed(0)).to(dtype)
        x @ weight.T
        began = time.perf_counter()
        for _ in range(n):
            x @ weight.T
        return (time.perf_counter() - began) / n


Made = tuple[Callable[[int, Tensor], None], Callable[[Path], None], str]


def ours(task: Any) -> Made:
    """This project: what `saes.fit` does between two batches."""
    import saes
    from saes.activations.streams import TensorStream
    from saes.training.engine import EngineSettings
    from saes.training.schedules import Schedule
    from saes.training.settings import FitSettings
    from saes.training.starting import make_trainees

    sizes = (task.d_in, task.d_sae)
    # Directions of any length, as SAELens trains them: after few steps unit ones explain half a point less.
    free: dict[str, Any] = {"decoder_norm": "free"}
    config = {
        "topk": lambda: saes.TopK(*sizes, k=task.k, **free),
        "batchtopk": lambda: saes.BatchTopK(*sizes, k=task.k, **free),
        "matryoshka": lambda: saes.Matryoshka(*sizes, k=task.k, prefixes=tuple(task.prefixes), **free),
        "jumprelu": lambda: saes.JumpReLU(
            *sizes,
            target_l0=float(task.k),
            coefficient=task.coefficient,
            bandwidth=task.bandwidth,
            initial_threshold=task.threshold,
        ),
    }[task.architecture]()
    settings = FitSettings(
        n_tokens=task.n_steps * task.batch_size,
        batch_size=task.batch_size,
        seed=task.seed,
        normalise="none",
        schedule=Schedule(lr=task.lr, decay="none"),
        engine=EngineSettings(dead_after=NEVER),
    )
    with safe_open(task.data, "pt") as file:
        stream = TensorStream({"x": file.get_tensor("x")}, held_out_share=0.0)
    (trainee,) = make_trainees({"it": ("x", config)}, stream, settings, torch.device("cpu"))

    def step(number: int, x: Tensor) -> None:
        trainee.step(x, settings.schedule, number, task.n_steps)
        if (number + 1) % settings.log_every == 0:
            trainee.numbers()

    return step, lambda path: trainee.finished().save(path) and None, f"{trainee.engine.plan}"


def sae_lens(task: Any, autocast: bool = False) -> Made:
    """SAELens's trainer without its logging to the web."""
    import sae_lens
    from sae_lens import saes as kinds
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    # Directions of length 1, as those of the others begin: JumpReLU's thresholds and bandwidth are in these units.
    sizes = {"d_in": task.d_in, "d_sae": task.d_sae, "decoder_init_norm": 1.0}
    warm_up = task.n_steps // 10
    kind, config = {
        "topk": lambda: (kinds.TopKTrainingSAE, kinds.TopKTrainingSAEConfig(**sizes, k=task.k)),
        "batchtopk": lambda: (kinds.BatchTopKTrainingSAE, kinds.BatchTopKTrainingSAEConfig(**sizes, k=task.k)),
        "matryoshka": lambda: (
            kinds.MatryoshkaBatchTopKTrainingSAE,
            kinds.MatryoshkaBatchTopKTrainingSAEConfig(**sizes, k=task.k, matryoshka_widths=list(task.prefixes)),
        ),
        "jumprelu": lambda: (
            kinds.JumpReLUTrainingSAE,
            kinds.JumpReLUTrainingSAEConfig(
                **sizes,
                jumprelu_sparsity_loss_mode="quadratic",
                target_l0=float(task.k),
                l0_coefficient=task.coefficient,
                l0_warm_up_steps=warm_up,
                jumprelu_bandwidth=task.bandwidth,
                jumprelu_init_threshold=task.threshold,
            ),
        ),
    }[task.architecture]()
    settings = SAETrainerConfig(
        total_training_samples=task.n_steps * task.batch_size,
        train_batch_size_samples=task.batch_size,
        lr=task.lr,
        lr_end=task.lr,
        lr_warm_up_steps=max(1, task.n_steps // 50),
        autocast=autocast,
        dead_feature_window=NEVER // task.batch_size,
    )
    dictionary = kind(config)
    trainer: Any = SAETrainer(settings, dictionary, data_provider=iter(()))

    def step(number: int, x: Tensor) -> None:
        trainer.maybe_reset_sparsity()
        trainer.step(x)
        trainer.n_training_steps += 1

    return step, lambda path: dictionary.save_inference_model(path) and None, f"sae-lens {sae_lens.__version__}"


def dictionary_learning(task: Any) -> Made:
    """dictionary_learning's trainers, one `update` a step as in its `trainSAE`."""
    if "nnsight" not in sys.modules:  # what reads models is not needed here, and its version is old
        sys.modules["nnsight"] = ModuleType("nnsight")
        sys.modules["nnsight"].LanguageModel = object  # type: ignore[attr-defined]
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    common = {
        "steps": task.n_steps + 1, "activation_dim": task.d_in, "dict_size": task.d_sae, "layer": 0, "lm_name": "none",
        "lr": task.lr, "warmup_steps": max(1, task.n_steps // 50), "seed": task.seed, "device": "cpu",
    }  # fmt: skip
    top = common | {"k": task.k, "threshold_beta": 0.99, "threshold_start_step": 0}
    fractions = [(b - a) / task.d_sae for a, b in zip([0, *task.prefixes], task.prefixes)]
    trainer = {
        "topk": lambda: TopKTrainer(**top),
        "batchtopk": lambda: BatchTopKTrainer(**top),
        "matryoshka": lambda: MatryoshkaBatchTopKTrainer(**top, group_fractions=fractions),
        "jumprelu": lambda: JumpReluTrainer(
            **common,
            target_l0=float(task.k),
            sparsity_penalty=task.coefficient,
            sparsity_warmup_steps=task.n_steps // 10,
            bandwidth=task.bandwidth,
        ),
    }[task.architecture]()

    if task.architecture == "jumprelu":
        trainer.ae.threshold.data.fill_(task.threshold)

    def save(path: Path) -> None:
        ae = trainer.ae
        if hasattr(ae, "encoder"):
            tensors = {"W_enc": ae.encoder.weight.T, "b_enc": ae.encoder.bias, "W_dec": ae.decoder.weight.T}
        else:
            tensors = {"W_enc": ae.W_enc, "b_enc": ae.b_enc, "W_dec": ae.W_dec}
        tensors["b_dec"] = ae.b_dec
        if task.architecture != "topk":
            tensors["threshold"] = torch.as_tensor(ae.threshold).expand(task.d_sae).clone()
        write_plain(path, task, tensors, apply_b_dec=task.architecture != "jumprelu")

    return lambda number, x: trainer.update(number, x) and None, save, "dictionary_learning 0.1.0"


def sparsify(task: Any) -> Made:
    """sparsify's coder with the steps of its trainer's loop, and Adam."""
    torch.cuda.is_bf16_supported = lambda *ignored: False  # it asks at import, also where there is no such device
    from sparsify import SparseCoder, SparseCoderConfig

    if task.architecture != "topk":
        raise ValueError("sparsify trains TopK only")
    coder = SparseCoder(task.d_in, SparseCoderConfig(num_latents=task.d_sae, k=task.k))
    optimiser = torch.optim.Adam(coder.parameters(), lr=task.lr)
    since = torch.zeros(task.d_sae, dtype=torch.long)
    warm_up = max(1, task.n_steps // 50)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda number: min(1.0, (number + 1) / (warm_up + 1)))

    def step(number: int, x: Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        out = coder(x, dead_mask=since > NEVER)
        (out.fvu + out.auxk_loss / 32).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        fired = torch.zeros(task.d_sae, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        since.add_(len(x))
        since[fired] = 0

    def save(path: Path) -> None:
        coder.set_decoder_norm_to_unit_norm()
        weights = {"W_enc": coder.encoder.weight.T, "b_enc": coder.encoder.bias, "W_dec": coder.W_dec}
        write_plain(path, task, weights | {"b_dec": coder.b_dec})

    return step, save, "eai-sparsify 1.3.3, Adam"


def write_plain(path: Path, task: Any, tensors: dict[str, Tensor], apply_b_dec: bool = True) -> None:
    """A dictionary in SAELens's layout."""
    path.mkdir(parents=True)
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path / "sae_weights.safetensors")
    told = {
        "architecture": "topk" if task.architecture == "topk" else "jumprelu", "k": task.k, "d_in": task.d_in,
        "d_sae": task.d_sae, "apply_b_dec_to_input": apply_b_dec, "metadata": {"sae_lens_version": "6.54.12"},
    }  # fmt: skip
    (path / "cfg.json").write_text(json.dumps(told))


LIBRARIES: dict[str, Callable[[Any], Made]] = {
    "ours": ours,
    "sae-lens": sae_lens,
    "sae-lens-autocast": lambda task: sae_lens(task, autocast=True),
    "dictionary-learning": dictionary_learning,
    "sparsify": sparsify,
}

if __name__ == "__main__":
    main()
