"""Photographs as tasks: what is published, and what comes with scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from mcu_lite.checks import checked
from mcu_lite.tasks.archives import Pool, cifar, data_folder, fetch, idx
from mcu_lite.tasks.task import Task, check_share, check_whole, task

RECIPES = {
    "train": {"batch": 256},
    "batch": {"forget": 64, "retain": 128},
    "npo": {"lr": 1e-3, "steps": 180, "forget_weight": 0.3},
    "graddiff": {"lr": 1e-3, "forget_weight": 0.1},
    "finetune": {"lr": 2e-3, "steps": 180},
}
"""For published photographs: chosen for ``resnet18`` on ``cifar10``, on seeds kept for it."""
TESTED = 500
"""Pieces of the two photographs that no model is trained on."""


def crop_and_flip(
    inputs: Tensor, rngs: Sequence[torch.Generator], most: int | None = None
) -> Tensor:
    """Shift images by up to an eighth of their side, and mirror every other one.

    Parameters
    ----------
    inputs : Tensor, shape (B, n, C, H, W)
        On any device, where the work is done; the few numbers are drawn on the CPU.
    rngs : sequence of B generators
    most : int, optional
        Pixels to shift by at most; what is missing at a border is mirrored.
    """
    b, n, channels, high, wide = inputs.shape
    most = high // 8 if most is None else most
    drawn = [torch.randint(2 * most + 1, (n, 2), generator=rng) for rng in rngs]
    flips = [torch.randint(2, (n,), generator=rng) for rng in rngs]
    shift = torch.stack(drawn).view(-1, 2, 1).to(inputs.device)
    flip = torch.stack(flips).view(-1, 1).bool().to(inputs.device)
    down, across = torch.arange(high, device=shift.device), torch.arange(wide, device=shift.device)
    rows = shift[:, 0] + down
    columns = shift[:, 1] + torch.where(flip, across.flip(0), across)
    larger = pad(inputs.flatten(0, 1), (most,) * 4, mode="reflect").permute(0, 2, 3, 1)
    each = torch.arange(b * n, device=shift.device)[:, None, None]
    cut = larger[each, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).view(b, n, channels, high, wide)


@checked
def as_task(
    name: str,
    pool: Pool,
    seeds: Sequence[int],
    recipes: dict[str, dict] | None = None,
    *,
    forget: float = 0.10,
    forget_class: int | None = None,
    noise: float = 0.0,
    train: int | None = None,
    augment: Callable | None = crop_and_flip,
) -> Task:
    """Make a task of images, z-scored by channel.

    Parameters
    ----------
    name : str
    pool : tuple of arrays
        Images (n, C, H, W) of 0..255 and classes (n,) to train on, then those to test on.
    seeds : sequence of int
        Each draws its own training set, label noise and forget set.
    recipes
        Of `Task`.
    forget : float in (0, 1)
        Fraction of the training set to forget, drawn at random; used if `forget_class` is None.
    forget_class : int, optional
        Forget all training images of this class instead; their share of every training set is
        that of all images.
    noise : float in [0, 1)
        Fraction of labels replaced by another class.
    train : int, optional
        Size of the training set; by default, all there are.
    augment
        Of `Task`.
    """
    images, truth, others, theirs = pool
    n, classes = len(images), int(max(truth.max(), theirs.max())) + 1
    train = n if train is None else train
    check_whole("train", train, 2, n)
    check_share("forget", forget)
    check_share("noise", noise, zero=True)
    if forget_class is not None:
        check_whole("forget_class", forget_class, 0, classes - 1)
    share = forget if forget_class is None else np.mean(truth == forget_class)
    few = round(share * train)  # As many in every split: a stack is one tensor.
    if not 0 < few < train:
        which = f"forget={forget}" if forget_class is None else f"forget_class={forget_class}"
        raise ValueError(f"{which} must leave some of {train} images on both sides")
    everything = np.concatenate([truth, theirs]).astype(np.int64)
    tests = np.arange(n, len(everything))
    labels, retain, gone = [], [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, crc32(name.encode())])
        chosen = rng.permutation(n)[:train]
        if forget_class is not None:
            chosen = _with_class(rng, truth, forget_class, few, train)
        lost = np.arange(train) < few
        own = everything.copy()
        for part in (chosen, tests):
            wrong = rng.choice(part, round(noise * len(part)), replace=False)
            own[wrong] = (own[wrong] + rng.integers(1, classes, len(wrong))) % classes
        for kept, value in ((labels, own), (retain, chosen[~lost]), (gone, chosen[lost])):
            kept.append(torch.from_numpy(value))
    inputs = torch.from_numpy(np.concatenate([images, others])).float()
    dims = (0, 2, 3)
    mean, sd = inputs[:n].mean(dims, keepdim=True), inputs[:n].std(dims, keepdim=True)
    inputs.sub_(mean).div_(sd.clamp(min=1e-6))
    return Task(
        name=name,
        inputs=inputs,
        truth=torch.from_numpy(everything),
        labels=torch.stack(labels),
        retain=torch.stack(retain),
        forget=torch.stack(gone),
        test=torch.from_numpy(tests).expand(len(seeds), -1),
        classes=classes,
        seeds=tuple(seeds),
        forgets=f"a random {forget:.0%}" if forget_class is None else f"class {forget_class}",
        augment=augment,
        recipes=recipes or {},
    )


def _with_class(
    rng: np.random.Generator, truth: np.ndarray, wanted: int, few: int, train: int
) -> np.ndarray:
    """Draw a training set that begins with so many of one class, and has no more of it."""
    order = rng.permutation(len(truth))
    own, rest = order[truth[order] == wanted], order[truth[order] != wanted]
    return np.concatenate([own[:few], rest[: train - few]])


@task("cifar10", as_task)
def cifar10(seeds: Sequence[int], folder: str | os.PathLike | None = None, **options) -> Task:
    """60,000 colour photographs of 10 classes, 32x32 (Krizhevsky, 2009).

    Parameters
    ----------
    seeds : sequence of int
    folder : path, optional
        Holds the data, or will. By default ``$MCU_LITE_DATA``, else ``~/.cache/mcu-lite-data``.
    **options
        Of `as_task`.

    Raises
    ------
    ValueError
        If the data cannot be downloaded, are not what was published, or an option is wrong.
    """
    return as_task("cifar10", cifar("cifar10", folder), seeds, RECIPES, **options)


@task("cifar100", as_task)
def cifar100(seeds: Sequence[int], folder: str | os.PathLike | None = None, **options) -> Task:
    """60,000 colour photographs of 100 classes, 32x32; options as of `cifar10`."""
    return as_task("cifar100", cifar("cifar100", folder), seeds, RECIPES, **options)


@task("fashion_mnist", as_task)
def fashion_mnist(seeds: Sequence[int], folder: str | os.PathLike | None = None, **options) -> Task:
    """70,000 grey photographs of 10 kinds of clothes, 28x28; options as of `cifar10`."""
    from torchvision.datasets import FashionMNIST

    found = []
    for name, digest in FashionMNIST.resources:
        file = data_folder(folder) / "fashion-mnist" / name
        # The address is not encrypted; the digest is what the content is trusted for.
        found.append(idx(fetch(FashionMNIST.mirrors[0] + name, file, f"md5:{digest}")))
    images, truth, others, theirs = found
    pool = images[:, None], truth, others[:, None], theirs
    return as_task("fashion_mnist", pool, seeds, RECIPES, **options)


@task("patches", as_task)
def patches(seeds: Sequence[int], size: int = 8, train: int = 300, **options) -> Task:
    """Pieces of scikit-learn's two photographs, a palace and a flower; no download.

    A class is a quarter of one of them, from left to right, of which pieces are to be
    recognised. As with the digits, a fifth of wrong labels makes visible what a model remembers;
    images that are cropped and flipped would be remembered much less, so that these are not.

    Parameters
    ----------
    seeds : sequence of int
    size : int
        Pixels a side; pieces do not overlap.
    train, **options
        Of `as_task`.

    Raises
    ------
    ValueError
        If a piece is so large that there are too few, or an option is out of its range.
    """
    check_whole("size", size, 1)
    from sklearn.datasets import load_sample_images

    pieces, truth = [], []
    for number, image in enumerate(load_sample_images().images):
        high, wide = (side // size for side in image.shape[:2])
        cut = image[: high * size, : wide * size].reshape(high, size, wide, size, 3)
        pieces.append(cut.transpose(0, 2, 4, 1, 3).reshape(-1, 3, size, size))
        truth.append(np.tile(4 * number + 4 * np.arange(wide) // wide, high))
    number = sum(map(len, truth))
    if number < TESTED + 2:
        raise ValueError(
            f"size must give at least {TESTED + 2} pieces, of which {TESTED} are tested on, got "
            f"{size} with {number}"
        )
    order = np.random.default_rng(crc32(b"patches")).permutation(number)
    images, truth = np.concatenate(pieces)[order], np.concatenate(truth)[order]
    kept = number - TESTED
    pool = images[:kept], truth[:kept], images[kept:], truth[kept:]
    options = {"noise": 0.2, "augment": None} | options
    return as_task("patches", pool, seeds, train=train, **options)
