"""Your own photographs as a task, as they lie on a disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np

from mcu_lite.tasks.photographs import as_task
from mcu_lite.tasks.task import Task, check_share, check_whole, task


@task("image_folder", as_task)
def image_folder(
    seeds: Sequence[int],
    folder: str | os.PathLike,
    size: int = 32,
    test: float = 0.2,
    **options,
) -> Task:
    """Your own photographs: a folder with a folder of images for each class.

    Hidden files and folders are left out. So are files that are no images by their ending, or lie
    in no class; a warning counts them.

    Parameters
    ----------
    seeds : sequence of int
    folder : path
    size : int
        Images are turned upright as their camera says, cut to their central square and scaled to
        so many pixels a side.
    test : float in (0, 1)
        Share of the images that no model is trained on, the same for all seeds.
    **options
        Of `as_task`.

    Raises
    ------
    ValueError
        If there is no such folder, fewer than two classes in it, a class without images, a file
        that is no image or one without a known white, or an option is out of its range.
    """
    check_share("test", test)
    check_whole("size", size, 1)
    files, truth = _listed(Path(folder))
    order = np.random.default_rng(crc32(b"image_folder")).permutation(len(files))
    pool = np.stack([_read(file, size) for file in files]).transpose(0, 3, 1, 2)[order]
    kept = len(pool) - round(test * len(pool))
    if not 0 < kept < len(pool):
        raise ValueError(f"test={test} of {len(pool)} images leaves nothing on one side")
    truth = truth[order]
    return as_task(
        Path(folder).name, (pool[:kept], truth[:kept], pool[kept:], truth[kept:]), seeds, **options
    )


def _listed(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Images of a folder and their classes, (N,), in the order of their names."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    found, others = {}, []
    for root, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found |= {name: [] for name in inner if Path(root) == folder}
        own = Path(root).relative_to(folder).parts[:1]
        for file in (Path(root) / name for name in sorted(names) if not name.startswith(".")):
            image = own and file.suffix.lower() in IMG_EXTENSIONS
            (found[own[0]] if image else others).append(file)
    if len(found) < 2 or not all(found.values()):
        counts = ", ".join(f"{name!r} with {len(files)}" for name, files in found.items())
        raise ValueError(
            f"folder={str(folder)!r} must hold two folders of images or more, none without images, "
            f"got {counts or 'none'}"
        )
    if others:
        warnings.warn(
            f"{len(others)} files in {folder} are skipped, which are no images by their ending or "
            f"lie in no class, such as {others[0].relative_to(folder)}",
            stacklevel=4,
        )
    counts = [len(files) for files in found.values()]
    return sum(found.values(), []), np.repeat(np.arange(len(counts)), counts)


def _read(file: Path, size: int) -> np.ndarray:
    """Return an image as bytes of shape (size, size, 3)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            # Pillow would cut 16 bits off at 255. Older versions call a PNG of 16 bits "I".
            if image.mode.startswith("I;16") or (image.mode == "I" and opened.format == "PNG"):
                image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
            elif image.mode in ("I", "F"):
                raise ValueError(f"which number is white in mode {image.mode!r} is not known")
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
