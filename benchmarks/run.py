"""Time the package against plain loops, then the book from an empty cache."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import by_hand
import numpy as np
import pandas as pd
import torch

import mcu_lite as mcu
from mcu_lite.training.losses import per_example

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, SEEDS, POINTS, ROUNDS = 10, 10, 61, 7
SHORT, LONG = 30, 150
STACKED, PAIRS, TOKENS = 5, 64, torch.zeros(1, 4, dtype=torch.long)

Side = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "part", nargs="?", choices=["package", "grid", "book", "pages", "all"], default="all"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    if chosen.part in ("package", "all"):
        torch.set_num_threads(chosen.threads)
        time_package()
    if chosen.part in ("grid", "all"):
        time_grid()
    if chosen.part in ("book", "all"):
        for profile in ("ci", "book"):
            time_book(profile)
    if chosen.part in ("pages", "all"):
        pages = Path(__file__).with_name("pages.py")
        subprocess.run([sys.executable, pages], check=True)


def time_package() -> None:
    lines = [*importing(), *training(), *evaluation(), *curve_fitting(), *text()]
    threads = torch.get_num_threads()
    kind = "processor" if threads == 1 else "wall-clock"
    print(f"torch {torch.__version__}, {threads} of {os.cpu_count()} cores, {kind} time")
    print(f"medians of {ROUNDS} interleaved rounds:")
    print(pd.DataFrame(lines).to_string(index=False), flush=True)
    measure_adapters()


def importing() -> list[dict]:
    """The door and the numeric rooms, which the first use of a name loads."""

    def side(code: str) -> Side:
        def seconds() -> float:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            return time.perf_counter() - began

        return seconds

    seconds = interleave(side("import mcu_lite as mcu; mcu.train"), side("import torch"))
    return [line("import", "import torch", *seconds, "at least 0.75")]


def training() -> list[dict]:
    task = mcu.load_task("digits", seeds=SEEDS)
    stack, modules = mcu.train(task, epochs=EPOCHS), by_hand.train_each_seed(task, EPOCHS)
    require_close("test accuracy", accuracy(stack, task), accuracy(mcu.Stack.of(*modules), task))
    ours, plain = interleave(
        timed(lambda: mcu.train(task, epochs=EPOCHS)),
        timed(lambda: by_hand.train_each_seed(task, EPOCHS)),
    )
    return [line(f"train {SEEDS} seeds", "loop of modules, DataLoader", ours, plain, ">= 3.5")]


def evaluation() -> list[dict]:
    task = mcu.load_task("digits", seeds=1)
    a, b = (mcu.train(task, seed=s, epochs=EPOCHS) for s in (0, 1))
    path, ends = mcu.connect(a, b, curve="linear"), (a.module(), b.module())

    def together() -> pd.DataFrame:
        return mcu.evaluate(path, task, ts=POINTS, metrics=["loss", "accuracy"])

    def alone(batch: int | None) -> torch.Tensor:
        return by_hand.evaluate_line(*ends, task, POINTS, batch)

    require_same(together(), alone(None))
    require_same(together(), alone(64))
    ours, loaded, whole = interleave(
        timed(together), timed(lambda: alone(64)), timed(lambda: alone(None))
    )
    job = f"evaluate {POINTS} points"
    return [
        line(job, "load_state_dict, DataLoader", ours, loaded, ">= 9"),
        line(job, "load_state_dict, whole splits", ours, whole, ""),
    ]


def curve_fitting() -> list[dict]:
    task = mcu.load_task("digits", seeds=SEEDS)
    theta = mcu.train(task, epochs=EPOCHS)
    gone = mcu.unlearn(theta, task, "npo")

    def per_curve(objective: str) -> Side:
        fit = a_step(lambda n: mcu.connect(theta, gone, task, objective=objective, steps=n))
        return lambda: fit() / SEEDS

    npo, retain, indexed, loaded = interleave(
        per_curve("npo"),
        per_curve("retain"),
        a_step(lambda n: by_hand.take_steps(task, n, loader=False)),
        a_step(lambda n: by_hand.take_steps(task, n, loader=True)),
    )
    plain = "a training step"
    return [
        line("a curve's step, npo", f"{plain}, tensors", npo, indexed, ">= 1/1.3"),
        line("a curve's step, npo", f"{plain}, DataLoader", npo, loaded, ""),
        line("a curve's step, retain", f"{plain}, tensors", retain, indexed, ">= 1/1.3"),
        line("a curve's step, retain", f"{plain}, DataLoader", retain, loaded, ""),
    ]


def text() -> list[dict]:
    """A transformer's step on question-answer pairs: a stack against one module after the other."""
    task = mcu.load_task("authors", seeds=STACKED)
    theta = mcu.train(task, "transformer", epochs=1)
    index = task.train[:, :PAIRS]
    batches = [(task.inputs[i], task.truth[i]) for i in index]
    modules = [theta.module(b) for b in range(STACKED)]

    def together() -> torch.Tensor:
        rows = theta.rows.clone().requires_grad_()
        logits = theta.architecture.logits(rows, task.inputs[index])
        loss = per_example(logits, task.truth[index]).mean(1)
        return torch.autograd.grad(loss.sum(), rows)[0]

    def alone() -> torch.Tensor:
        gradients = [by_hand.text_gradient(m, x, y) for m, (x, y) in zip(modules, batches)]
        return torch.stack(gradients)

    require_close("gradient", together(), alone(), 1e-4)
    ours, plain = interleave(timed(together), timed(alone))
    return [line(f"gradient of {STACKED} transformers", "loop of modules", ours, plain, "")]


def measure_adapters() -> None:
    """Bytes that curves over adapters of a small random Llama hold, against whole models."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from mcu_lite.models.adapters import bytes_held, with_lora

    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=1000, num_attention_heads=4, **sizes))
    whole = bytes_held(model)
    adapted = with_lora(model, rank=4)
    ends = [mcu.Stack.of(adapted, label=name) for name in "ab"]
    adapter, lines = ends[0].rows.nbytes, []
    for bends in (1, 3, 7):
        path = mcu.connect(
            *ends, objective=lambda model: model(TOKENS).mean(), bends=bends, steps=0
        )
        held = bytes_held(path)
        require_close("bytes beside rows and backbone", held, whole + (bends + 3) * adapter, 64)
        lines.append(
            {
                "control points": bends + 2,
                "MiB held": f"{held / 2**20:.1f}",
                "of which backbone": f"{whole / 2**20:.1f}",
                "MiB an adapter": f"{adapter / 2**20:.2f}",
                "MiB as whole models": f"{(bends + 2) * whole / 2**20:.1f}",
            }
        )
    print("\nA curve over adapters, in memory")
    print(pd.DataFrame(lines).to_string(index=False), flush=True)


def timed(job: Callable[[], object]) -> Side:
    # Processor time does not see what else the machine does, but counts idle threads as busy.
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def seconds() -> float:
        began = now()
        job()
        return now() - began

    return seconds


def a_step(job: Callable[[int], object], short: int = SHORT, long: int = LONG) -> Side:
    """Seconds of one step: the difference of two runs, in which what is done once drops out."""
    few, many = timed(lambda: job(short)), timed(lambda: job(long))
    return lambda: (many() - few()) / (long - short)


def interleave(*sides: Side, times: int = ROUNDS) -> np.ndarray:
    """Seconds of each side in each round, shape (sides, rounds); the first round only warms up."""
    rounds = [[side() for side in sides] for _ in range(times + 1)]
    return np.array(rounds[1:]).T


def line(job: str, against: str, ours: np.ndarray, plain: np.ndarray, target: str) -> dict:
    """One line of the table: a ratio is taken within a round, so that slow drifts cancel."""
    ratios = plain / ours
    return {
        "job": job,
        "instead of": against,
        "ms": f"{1e3 * median(ours):.3g}",
        "instead of ms": f"{1e3 * median(plain):.3g}",
        "times faster": f"{median(ratios):.2f}",
        "range": f"{ratios.min():.2f}-{ratios.max():.2f}",
        "target": target,
    }


def accuracy(stack: mcu.Stack, task: mcu.Task) -> float:
    table = mcu.evaluate(stack, task, metrics=["accuracy"])
    return table[table.split == "test"].value.mean()


def require_same(table: pd.DataFrame, measured: torch.Tensor) -> None:
    """Both sides evaluate the same points: exit unless they agree on every number."""
    for s, split in enumerate(("retain", "forget", "test")):
        for m, metric in enumerate(("loss", "accuracy")):
            ours = table[(table.split == split) & (table.metric == metric)].value.to_numpy()
            require_close(f"{metric} on {split}", ours, measured[:, s, m].numpy(), 2e-3)


def require_close(what: str, ours, plain, tolerance: float = 0.03) -> None:
    gap = np.abs(np.asarray(ours) - np.asarray(plain)).max()
    if not gap <= tolerance:
        sys.exit(f"the two sides differ by {gap:.2g} in {what}; their times cannot be compared")


def time_grid() -> None:
    """Time the paper's conditions from an empty cache, for more seeds and more conditions."""
    every = mcu.grid()
    spread = every[:: len(every) // 120]
    sizes = [(every, 5), (spread, 1), (spread, 5), (spread, 20), (spread[::4], 5)]
    lines = []
    # Workers start, and import, before the clock does.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(torch.set_num_threads, [1] * 4 * os.cpu_count()))
        for conditions, seeds in sizes:
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                setting = mcu.load_profile("book", seeds=seeds)
                mcu.run(conditions, setting, cache=folder, executor=pool)
                took = time.perf_counter() - began
            own = {"conditions": len(conditions), "seeds": seeds, "seconds": f"{took:.1f}"}
            rate = {"conditions/s": f"{len(conditions) / took:.2f}"}
            lines.append(own | rate | {"curves/s": f"{len(conditions) * seeds / took:.1f}"})
    print(f"\nThe grid at book, nothing cached, {os.cpu_count()} processes")
    print(pd.DataFrame(lines).to_string(index=False), flush=True)


def time_book(profile: str) -> None:
    """Build the book in a copy that has nothing built; each chapter's line tells its memory."""
    print(f"\nThe book at {profile}, nothing built before", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        built = shutil.ignore_patterns("_build", "node_modules", "__pycache__", ".*")
        shutil.copytree(ROOT, copy, ignore=built)
        # Kernels import the copied package and find no result that an earlier build has kept.
        here = os.environ | {"PYTHONPATH": str(copy), "MCU_LITE_CACHE": f"{folder}/cache"}
        subprocess.run(
            [sys.executable, "scripts/build.py", profile], cwd=copy, env=here, check=True
        )


if __name__ == "__main__":
    main()
