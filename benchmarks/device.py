"""Time what a GPU is for: many retrained models at once, and a residual network's steps.

Without a GPU a small version runs on the CPU. Every line is marked with its device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pandas as pd
import torch
from run import a_step, interleave, line, timed
from torch.utils.flop_counter import FlopCounterMode

import mcu_lite as mcu

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
ORACLES, ALONE, EPOCHS = (512, 8, 100) if GPU else (16, 4, 5)
NETWORK, DATA, BATCH = ("resnet18", "images", 256) if GPU else ("resnet_small", "patches", 64)


def main() -> None:
    torch.set_num_threads(1 if not GPU else torch.get_num_threads())
    name = torch.cuda.get_device_name() if GPU else f"CPU, 1 of {os.cpu_count()} cores"
    print(f"torch {torch.__version__}, {name}")
    lines = [oracles(), curve_step()]
    print(pd.DataFrame(lines).assign(device=name).to_string(index=False))
    print(roofline(name))


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
    ours, plain = interleave(stack, timed(waited(loop)))
    what = f"{ORACLES} retrained digits oracles, {EPOCHS} epochs"
    return line(what, f"one by one (from {ALONE})", ours, plain * ORACLES / ALONE, "")


def images() -> mcu.Task:
    """As many pixels as CIFAR-10's, and none of its content: for times alone."""
    from mcu_lite.photographs import as_task

    rng = torch.Generator().manual_seed(0)
    x = torch.randint(256, (2_000, 3, 32, 32), generator=rng, dtype=torch.uint8).numpy()
    y = torch.randint(10, (2_000,), generator=rng).numpy()
    return as_task("noise", (x[:1500], y[:1500], x[1500:], y[1500:]), [0])


def curve_step() -> dict:
    """A step of a quadratic curve against a step of training at one point, on equal batches."""
    task = (images() if GPU else mcu.load_task(DATA, seeds=1)).to(DEVICE)
    a, b = (mcu.train(task, NETWORK, seed=s, epochs=1, batch=BATCH) for s in (0, 1))
    with torch.autocast(DEVICE, torch.bfloat16, enabled=GPU):
        curve, plain = interleave(
            a_step(waited_of(lambda n: mcu.connect(a, b, task, objective="npo", steps=n))),
            a_step(waited_of(lambda n: mcu.unlearn(a, task, "npo", steps=n))),
        )
    what = f"curve step of {NETWORK}, 96 images"
    return line(what, "step of unlearning", curve, plain, ">= 0.9")


def waited_of(job: Callable[[int], object]) -> Callable[[int], object]:
    return lambda steps: waited(lambda: job(steps))()


def roofline(name: str) -> str:
    """How far one step is from what the device can do, by operations and by bytes."""
    size, seconds = 2048 if GPU else 512, []
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
    task = images() if GPU else mcu.load_task(DATA, seeds=1)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = mcu.MODELS[NETWORK]()
        model(torch.zeros(96, *task.inputs.shape[1:]))
    flops, parameters = 3 * counter.get_total_flops(), mcu.Architecture(model).size
    # Parameters, gradient and two moments are read and written by AdamW: seven passes.
    moved = 7 * 4 * parameters
    return (
        f"roofline on {name}: a matrix product reaches {compute / 1e12:.2f} Tflop/s, a copy "
        f"{memory / 1e9:.0f} GB/s, so work pays from {compute / memory:.0f} flop/byte on. A step "
        f"of {NETWORK} on 96 images is {flops / 1e9:.2f} Gflop: {1e3 * flops / compute:.2f} ms at "
        f"that rate. The optimizer moves {moved / 1e6:.1f} MB: {1e3 * moved / memory:.3f} ms; "
        f"mixing three control points {3 * 4 * parameters / 1e6:.1f} MB more."
    )


if __name__ == "__main__":
    main()
