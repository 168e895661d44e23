"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write(file: Path, *parts: bytes) -> None:
    """Write a file; a reader sees all of it or nothing."""
    # Not of `tempfile`, whose files nobody else may read: a folder of results may be shared.
    part = file.with_name(f"{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as opened:
            opened.writelines(parts)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
