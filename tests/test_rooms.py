"""The package's rooms: each imports only those above it, and none that computes draws."""

import ast
from pathlib import Path

import pytest

import mcu_lite

PACKAGE = Path(mcu_lite.__file__).parent
# In the order in which the package lists what it offers; what is no folder lies above all rooms.
ROOMS = list(dict.fromkeys(home.split(".")[0] for home in mcu_lite.HOMES))
SHOWN = {"IPython", "ipywidgets", "matplotlib"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(tree):
    """Full names of the modules that some nodes import, at once or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_folder_is_a_room():
    assert {file.parent.name for file in FILES} == {"mcu_lite", *ROOMS}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_a_file_imports_only_what_lies_above_it_and_fits_on_300_lines(file):
    text = file.read_text(encoding="utf-8")
    names = [name.split(".") for name in imported(ast.parse(text))]
    room = file.parent.name
    place = ROOMS.index(room) if room in ROOMS else -1
    used = {part for name in names if name[0] == "mcu_lite" for part in name[1:2]} & set(ROOMS)
    assert used <= set(ROOMS[: place + 1])
    if room not in ("figures", "book"):
        assert not SHOWN & {name[0] for name in names}
    assert len(text.splitlines()) <= 300
