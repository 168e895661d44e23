"""Photographs as tasks: what is published, and what comes with scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from mcu_lite.checks import checked
from mcu_lite.tasks.task import Task, check_range, check_share, task

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
Pool = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Images (n, C, H, W) of 0..255 and classes (n,) to train on, then those to test on."""


def crop_and_flip(
    inputs: Tensor, rngs: Sequence[torch.Generator], most: int | None = None
) -> Tensor:
    """Shift images (B, n, C, H, W) by up to an eighth of their side, and mirror every other one.

    `most` is another bound, in pixels; what is missing at a border is mirrored. Row b draws its few
    numbers from the b-th generator, on the CPU; the work is done where the images are.
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

    The `pool` holds images (n, C, H, W) of 0..255 and classes (n,) to train on, then those to test
    on. Each seed draws its own `train` of the images (by default all), the share `noise` of labels
    that become another class, and what is to be forgotten: the share `forget` of the training set,
    or all that is there of `forget_class`, as much for every seed. `recipes` and `augment` are of
    `Task`. An option out of its range raises a `ValueError`.
    """
    images, truth, others, theirs = pool
    n, classes = len(images), int(max(truth.max(), theirs.max())) + 1
    train = n if train is None else train
    check_range("train", train, 2, n)
    check_share("forget", forget)
    check_share("noise", noise, zero=True)
    if forget_class is not None:
        check_range("forget_class", forget_class, 0, classes - 1)
    share = forget if forget_class is None else np.mean(truth == forget_class)
    few = round(share * train)  # As many in every split: a stack is one tensor.
    everything = np.concatenate([truth, theirs]).astype(np.int64)
    tests = np.arange(n, len(everything))
    draws = []
    for seed in seeds:
        rng = np.random.default_rng([seed, crc32(name.encode())])
        order = rng.permutation(n)
        if forget_class is not None:  # It begins with so many of the class, and has no more of it.
            order = rng.permutation(n)
            own = truth[order] == forget_class
            order = np.concatenate([order[own][:few], order[~own]])
        chosen = order[:train]
        labels = everything.copy()
        for part in (chosen, tests):
            wrong = rng.choice(part, round(noise * len(part)), replace=False)
            labels[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
        draws.append((labels, chosen[few:], chosen[:few]))
    labels, retain, forget_index = (torch.from_numpy(np.stack(part)) for part in zip(*draws))
    inputs = torch.from_numpy(np.concatenate([images, others])).float()
    dims = (0, 2, 3)
    mean, sd = inputs[:n].mean(dims, keepdim=True), inputs[:n].std(dims, keepdim=True)
    inputs.sub_(mean).div_(sd.clamp(min=1e-6))
    return Task(
        name=name,
        inputs=inputs,
        truth=torch.from_numpy(everything),
        labels=labels,
        retain=retain,
        forget=forget_index,
        test=torch.from_numpy(tests).expand(len(seeds), -1),
        classes=classes,
        seeds=tuple(seeds),
        forgets=f"a random {forget:.0%}" if forget_class is None else f"class {forget_class}",
        augment=augment,
        recipes=recipes or {},
    )


def held_out(name: str, images: np.ndarray, truth: np.ndarray, tests: int) -> Pool:
    """Divide images and classes in an order that the name draws, with the last ones to test on."""
    order = np.random.default_rng(crc32(name.encode())).permutation(len(images))
    kept, out = order[:-tests], order[-tests:]
    return images[kept], truth[kept], images[out], truth[out]


def _published(name: str, folder: str | os.PathLike | None) -> Pool:
    """Read what torchvision downloads; it opens a pickle only if its published MD5 digest fits."""
    from torchvision import datasets

    kind, cache = getattr(datasets, name), os.environ.get("MCU_LITE_DATA")
    root = Path(folder or cache or Path.home() / ".cache" / "mcu-lite-data")
    try:
        parts = [kind(root, train=train, download=True) for train in (True, False)]
    except Exception as error:  # of torchvision, the network, the disk: one clear error
        if issubclass(kind, datasets.MNIST):
            own, where = kind.resources, root / name / "raw"
        else:
            own, where = [(kind.filename, kind.tgz_md5)], root
        files = ", ".join(f"{file} (MD5 {digest})" for file, digest in own)
        raise ValueError(
            f"{name} cannot be downloaded, or is not what was published ({error!r}); on a "
            f"machine without network, put {files} into {where} and remove what is unpacked there"
        ) from error
    pool = []
    for part in parts:
        images = np.asarray(part.data)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        pool += [np.ascontiguousarray(images), np.asarray(part.targets)]
    return tuple(pool)


@task("cifar10")
def cifar10(seeds: Sequence[int], folder: str | os.PathLike | None = None, **options) -> Task:
    """60,000 colour photographs of 10 classes, 32x32 (Krizhevsky, 2009), downloaded once.

    `folder` holds the data, or will: by default ``$MCU_LITE_DATA``, else
    ``~/.cache/mcu-lite-data``. The other options are those of `as_task`. Data that cannot be
    downloaded, or are not what was published, raise a `ValueError`.
    """
    return as_task("cifar10", _published("CIFAR10", folder), seeds, RECIPES, **options)


@task("cifar100")
def cifar100(seeds: Sequence[int], folder: str | os.PathLike | None = None, **options) -> Task:
    """60,000 colour photographs of 100 classes, 32x32; options as of `cifar10`."""
    return as_task("cifar100", _published("CIFAR100", folder), seeds, RECIPES, **options)


@task("fashion_mnist")
def fashion_mnist(seeds: Sequence[int], folder: str | os.PathLike | None = None, **options) -> Task:
    """70,000 grey photographs of 10 kinds of clothes, 28x28; options as of `cifar10`."""
    return as_task("fashion_mnist", _published("FashionMNIST", folder), seeds, RECIPES, **options)


@task("patches")
def patches(seeds: Sequence[int], size: int = 8, train: int = 300, **options) -> Task:
    """Pieces of scikit-learn's two photographs, a palace and a flower; no download.

    A class is a quarter of one of them, from left to right, of which pieces are to be
    recognised. As with the digits, a fifth of wrong labels makes visible what a model remembers;
    images that are cropped and flipped would be remembered much less, so that these are not.

    Pieces of `size` x `size` pixels do not overlap; the other options are those of `as_task`. One
    out of its range raises a `ValueError`.
    """
    check_range("size", size, 1)
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
    pool = held_out("patches", np.concatenate(pieces), np.concatenate(truth), TESTED)
    options = {"noise": 0.2, "augment": None} | options
    return as_task("patches", pool, seeds, train=train, **options)
