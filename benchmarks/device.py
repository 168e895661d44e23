"""Time what a GPU is for: many retrained models at once, and a residual network's steps.

Without a GPU a small version runs on the CPU. Every line is marked with its device; given a folder,
the tables are kept there.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from run import Side, a_step, interleave, line, timed
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import mcu_lite as mcu
from mcu_lite.tasks.photographs import as_task

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
ORACLES, ALONE, EPOCHS = (512, 4, 20) if GPU else (16, 4, 5)
NETWORK, BATCH = ("resnet18", 256) if GPU else ("resnet_small", 64)
ROUNDS = 2 if GPU else 7
STEPS = (10, 90) if GPU else (10, 40)
SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    kept = parser.parse_args().folder
    torch.set_num_threads(1 if not GPU else torch.get_num_threads())
    name = torch.cuda.get_device_name() if GPU else f"CPU, 1 of {os.cpu_count()} cores"
    print(f"torch {torch.__version__}, {name}")
    tables = {"device": pd.DataFrame([oracles(), *training_step(), curve_step()])}
    print(tables["device"].drop(columns="target").to_string(index=False), flush=True)
    tables["roofline"] = roofline()
    print(tables["roofline"].to_string(index=False), flush=True)
    tables["adapters"] = adapters()
    print(tables["adapters"].to_string(index=False))
    if kept:
        for what, table in tables.items():
            table.assign(device=name, torch=torch.__version__).to_csv(
                kept / f"{what}.csv", index=False
            )


def waited(job: Callable[[], object]) -> Callable[[], object]:
    """A GPU answers before it has finished."""

    def done() -> None:
        job()
        if GPU:
            torch.cuda.synchronize()

    return done


def oracles() -> dict:
    """All retrained models in one stack, against one after the other, of which a few are timed."""
    task = mcu.load_task("digits", seeds=ORACLES).to(DEVICE)
    each = [mcu.load_task("digits", seeds=[s]).to(DEVICE) for s in range(ALONE)]

    def loop() -> None:
        for own in each:
            mcu.train(own, split="retain", epochs=EPOCHS)

    stack = timed(waited(lambda: mcu.train(task, split="retain", epochs=EPOCHS)))
    ours, plain = interleave(stack, timed(waited(loop)), times=ROUNDS)
    what = f"{ORACLES} retrained digits oracles, {EPOCHS} epochs"
    return line(what, f"one by one (from {ALONE})", ours, plain * ORACLES / ALONE, "")


def photographs(seeds: int) -> mcu.Task:
    """On a GPU as many pixels as CIFAR-10's, and none of its content: for times alone."""
    if not GPU:
        return mcu.load_task("patches", seeds=seeds)
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(256, (2_560, 3, 32, 32), generator=rng, dtype=torch.uint8).numpy()
    y = torch.randint(10, (2_560,), generator=rng).numpy()
    return as_task("noise", (x[:2048], y[:2048], x[2048:], y[2048:]), range(seeds)).to(DEVICE)


WAYS = {
    "grouped convolutions": {"vectorised": True, "last": False},
    "row by row, channels first": {"last": False},
    "row by row": {},
    "row by row, compiled": {"compiled": "inductor"},
}
"""How a stack of networks can be computed."""


def network(last: bool = True, **attributes) -> nn.Module:
    """Build the network with attributes of its own; `last` leaves the channels innermost."""
    module = mcu.MODELS[NETWORK]()
    for name, value in attributes.items():
        setattr(module, name, value)
    if not last:
        module[0] = nn.Identity()
    return module


def training_step() -> list[dict]:
    """A step of a few networks in different ways, and a step of ordinary training."""
    task = photographs(SEEDS)
    an_epoch = math.ceil((task.retain.shape[1] + task.forget.shape[1]) / BATCH)
    start = mcu.train(task, partial(network, last=False), epochs=1).rows

    def stepping(build: Callable[[], nn.Module]) -> Side:
        def train(steps: int) -> mcu.Stack:
            return mcu.train(task, build, epochs=steps // an_epoch, batch=BATCH, start=start)

        return a_step(waited_of(train), an_epoch, (10 if GPU else 3) * an_epoch)

    ways = {k: own for k, own in WAYS.items() if GPU or "compiled" not in own}
    with torch.autocast(DEVICE, torch.bfloat16, enabled=GPU):
        sides = (stepping(partial(network, **own)) for own in ways.values())
        plain, *ours = interleave(stepping_by_hand(task), *sides, times=ROUNDS)
    what = f"step of {SEEDS} {NETWORK}, {BATCH} images each"
    return [line(f"{what}, {k}", "a loop of modules", s, plain, "") for k, s in zip(ways, ours)]


def stepping_by_hand(task: mcu.Task) -> Side:
    """Ordinary modules with PyTorch's own optimizer, one after the other."""
    nets = [network(last=False).to(DEVICE) for _ in range(SEEDS)]
    tuned = [torch.optim.AdamW(net.parameters(), 3e-3, fused=GPU) for net in nets]
    rngs = [torch.Generator().manual_seed(s) for s in range(SEEDS)]
    pool, labels = (v[0] for v in task.split("retain"))
    augment = task.augment or (lambda x, rngs: x)

    def steps(number: int) -> None:
        for net, optimizer, rng in zip(nets, tuned, rngs):
            for _ in range(number):
                index = torch.randint(len(pool), (BATCH,), generator=rng).to(DEVICE)
                x = augment(pool[None, index], [rng])[0]
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), labels[index]).backward()
                optimizer.step()

    return a_step(waited_of(steps), *STEPS)


def curve_step() -> dict:
    """A step of a quadratic curve against a step of training at one point, on equal batches."""
    task = photographs(1)
    a, b = (mcu.train(task, NETWORK, seed=s, epochs=1, batch=BATCH) for s in (0, 1))
    with torch.autocast(DEVICE, torch.bfloat16, enabled=GPU):
        curve, plain = interleave(
            a_step(waited_of(lambda n: mcu.connect(a, b, task, objective="npo", steps=n)), *STEPS),
            a_step(waited_of(lambda n: mcu.unlearn(a, task, "npo", steps=n)), *STEPS),
            times=ROUNDS,
        )
    what = f"curve step of {NETWORK}, 96 images"
    return line(what, "step of unlearning", curve, plain, ">= 0.9")


def adapters() -> pd.DataFrame:
    """Curves over adapters of a random Llama: what they hold, and what a step takes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from mcu_lite.models.adapters import with_lora

    size = {"num_hidden_layers": 22, "hidden_size": 2048, "intermediate_size": 5632}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 4}
    if not GPU:
        size = {"num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 512}
    with torch.device(DEVICE):
        model = with_lora(LlamaForCausalLM(LlamaConfig(**size, **heads)).bfloat16(), rank=8)
    start = mcu.Stack.of(model)
    noise = torch.randn(start.rows.shape, generator=torch.Generator().manual_seed(0))
    other = start.with_rows(start.rows + 1e-3 * noise.to(DEVICE))
    tokens = torch.randint(1000, (4, 256), generator=torch.Generator().manual_seed(0)).to(DEVICE)

    def loss(at: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(
            at(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
        )

    def fit(bends: int, steps: int) -> mcu.Path:
        return mcu.connect(start, other, objective=loss, bends=bends, steps=steps)

    backbone = sum(p.nbytes for p in model.parameters() if not p.requires_grad)
    lines = []
    for bends in (1, 7):
        before = torch.cuda.memory_allocated() if GPU else 0
        path = fit(bends, 1)
        held = torch.cuda.memory_allocated() - before if GPU else path.control.nbytes
        step = median(a_step(waited_of(partial(fit, bends)), 2, 12)() for _ in range(ROUNDS))
        lines.append(
            {
                "control points": bends + 2,
                "backbone MB": round(backbone / 1e6),
                "adapter MB": round(start.rows.nbytes / 1e6, 1),
                "held beside the backbone MB": round(held / 1e6, 1),
                "peak MB": round(torch.cuda.max_memory_allocated() / 1e6) if GPU else "",
                "ms a step": round(1e3 * step),
            }
        )
    return pd.DataFrame(lines)


def waited_of(job: Callable[[int], object]) -> Callable[[int], object]:
    return lambda steps: waited(lambda: job(steps))()


def roofline() -> pd.DataFrame:
    """How far one step is from what the device can do, by operations and by bytes."""
    size, seconds = 8192 if GPU else 512, []
    kind = torch.bfloat16 if GPU else torch.float32
    m = torch.randn(size, size, device=DEVICE, dtype=kind)
    copied = torch.empty(2**28 if GPU else 2**24, device=DEVICE)
    for job, work in (
        (lambda: m @ m, 2 * size**3),
        (lambda: copied.clone(), 2 * copied.nbytes),
    ):
        waited(job)()
        began = time.perf_counter()
        for _ in range(10):
            job()
        waited(lambda: None)()
        seconds.append(10 * work / (time.perf_counter() - began))
    compute, memory = seconds
    task = photographs(1)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = mcu.MODELS[NETWORK]()
        model(torch.zeros(96, *task.inputs.shape[1:]))
    flops, parameters = 3 * counter.get_total_flops(), mcu.Architecture(model).size
    # Parameters, gradient and two moments are read and written by AdamW: seven passes.
    moved = 7 * 4 * parameters
    return pd.DataFrame(
        [
            {
                "matrix product Tflop/s": compute / 1e12,
                "copy GB/s": memory / 1e9,
                "network": NETWORK,
                "Gflop a step of 96 images": flops / 1e9,
                "its ms at best": 1e3 * flops / compute,
                "optimizer MB": moved / 1e6,
                "its ms": 1e3 * moved / memory,
                "MB of mixing three control points": 3 * 4 * parameters / 1e6,
            }
        ]
    ).round(3)


if __name__ == "__main__":
    main()
