"""A build ends with the sentences that do not hold, and a published book has none."""

import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mcu_lite.book.guards import holds

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import build  # noqa: E402

NOTES = [
    "first: Written for: a < b & c. Here it is otherwise.",
    "first: Written for: npo. Measured here: none.",
]


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Two chapters: two of the first one's three sentences do not hold."""
    guards = [holds(1 > 2, "a < b & c"), holds(1 < 2, "fine"), holds([], "npo")]
    outputs = [[new_output("display_data", {"text/html": g.data})] if g else [] for g in guards]
    cells = {
        "first": [new_code_cell("holds(...)", outputs=own) for own in outputs],
        "second": [new_markdown_cell('<p class="mcu-note">is prose</p>'), new_code_cell("1")],
    }
    for name, own in cells.items():
        nbformat.write(new_notebook(cells=own), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(build, "chapters", lambda: [Path(f"{name}.md") for name in cells])
    return tmp_path


def test_the_notes_of_all_chapters_are_listed(executed, capsys):
    assert build.notes(executed) == NOTES
    build.report(NOTES, "ci")
    build.report([], "book")
    assert capsys.readouterr().out == "\n".join([*NOTES, ""])


def test_they_stop_a_strict_build_of_the_book_alone(monkeypatch, capsys):
    monkeypatch.delenv("STRICT", raising=False)
    build.report(NOTES, "book")
    monkeypatch.setenv("STRICT", "1")
    build.report(NOTES, "ci")
    build.report([], "book")
    with pytest.raises(SystemExit, match="2 sentences do not hold"):
        build.report(NOTES, "book")
    assert capsys.readouterr().out.count(NOTES[1]) == 3


def test_what_is_published_is_built_strictly():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))
    assert str(workflow["jobs"]["publish"]["env"]["STRICT"]) == "1"
