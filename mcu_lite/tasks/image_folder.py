"""Your own photographs as a task, as they lie on a disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcu_lite.tasks.photographs import as_task, held_out
from mcu_lite.tasks.task import Task, check_range, check_share, task


@task("image_folder")
def image_folder(
    seeds: Sequence[int],
    folder: str | os.PathLike,
    size: int = 32,
    test: float = 0.2,
    **options,
) -> Task:
    """Your own photographs: a folder with a folder of images for each class.

    Images are turned upright as their camera says, cut to their central square and scaled to
    `size` x `size` pixels. The share `test` of them, the same for all seeds, is for testing; the
    other options are those of `as_task`. Hidden files and folders are left out. So are files that
    are no images by their ending, or lie in no class; a warning counts them.

    Raises
    ------
    ValueError
        If there is no such folder, fewer than two classes in it, a class without images, a file
        that is no image or one without a known white, or an option is out of its range.
    """
    check_share("test", test)
    check_range("size", size, 1)
    files, truth = _listed(Path(folder))
    if not 0 < (tests := round(test * len(files))) < len(files):
        raise ValueError(f"test={test} of {len(files)} images leaves nothing on one side")
    images = np.stack([_read(file, size) for file in files]).transpose(0, 3, 1, 2)
    pool = held_out("image_folder", images, truth, tests)
    return as_task(Path(folder).name, pool, seeds, **options)


def _listed(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Images of a folder and their classes, (N,), in the order of their names."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    # Not `rglob`, which does not follow links, nor `ImageFolder`, for which hidden folders count.
    shown, seen = [], set()
    for root, inner, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(root)) in seen:  # a link may lead to where one has been
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        shown += [Path(root, n).relative_to(folder) for n in names if not n.startswith(".")]
    shown.sort(key=lambda file: (file.parent, file.name))
    images = [f for f in shown if len(f.parts) > 1 and f.suffix.lower() in IMG_EXTENSIONS]
    classes = sorted(path.name for path in folder.glob("[!.]*/"))
    truth = np.array([classes.index(file.parts[0]) for file in images], dtype=np.int64)
    counts = np.bincount(truth, minlength=len(classes))
    if len(classes) < 2 or not counts.all():
        found = ", ".join(f"{name!r} with {count}" for name, count in zip(classes, counts))
        raise ValueError(
            f"folder={str(folder)!r} must hold two folders of images or more, none without images, "
            f"got {found or 'none'}"
        )
    if others := sorted(set(shown) - set(images)):
        warnings.warn(
            f"{len(others)} files in {folder} are skipped, which are no images by their ending or "
            f"lie in no class, such as {others[0]}",
            stacklevel=6,
        )
    return [folder / file for file in images], truth


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
