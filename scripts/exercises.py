"""Write each chapter's exercises as a notebook: what to run first, the task, a blank, a check."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "extensions"))
from plain import Book, make_plain  # noqa: E402

BOOK = Book(ROOT)
BLANK = "# write your code here"
EXERCISE = r"^```\{exercise\}\n:label: (\S+)\n\n(.*?)\n```\n\n````\{solution\} \1\n(.*?)\n````$"
SOLUTION = r"^```python\n(.*?)\n```$"
CHECK = r"^```\{code-block\} python\n:class: check\n\n(.*?)\n```$"


@dataclass(frozen=True)
class Exercise:
    """An exercise of a chapter: its label, what it asks, its solution and its check, as code."""

    label: str
    text: str
    solution: str
    check: str

    @property
    def answers(self) -> list[str]:
        """Names in the text that the solution binds and the check reads."""
        bound = r"^(?:def |class )?(?:\w+, )*{}\b(?:, \w+)*(?: = |\(|:)"
        read = set(re.findall(r"\w+", re.sub(r'"[^"]*"', "", self.check)))
        named = [n for n in dict.fromkeys(re.findall(r"`(\w+)`", self.text)) if n in read]
        return [n for n in named if re.search(bound.format(n), self.solution, re.M)]


def main() -> None:
    """Write the notebooks of all chapters that have exercises into _build/exercises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile")
    profile = parser.parse_args().profile
    out = ROOT / "_build" / "exercises"
    out.mkdir(parents=True, exist_ok=True)
    for chapter in sorted((ROOT / "book").glob("*.md")):
        if exercises_of(chapter):
            target = out / f"{chapter.stem}.ipynb"
            nbformat.write(notebook(chapter, profile), target)
            print(target.relative_to(ROOT))


def exercises_of(chapter: Path) -> list[Exercise]:
    """Read the exercises of a chapter with their solutions and checks."""
    page = chapter.read_text(encoding="utf-8")
    return [
        Exercise(label, text, *("\n".join(_blocks(kind, body)) for kind in (SOLUTION, CHECK)))
        for label, text, body in _blocks(EXERCISE, page)
    ]


def _blocks(pattern: str, text: str) -> list:
    return re.findall(pattern, text, re.S | re.M)


def notebook(chapter: Path, profile: str) -> nbformat.NotebookNode:
    """Build the notebook that a student opens; `profile` says how much its first cells compute."""
    source = jupytext.read(chapter)
    title = source.cells[0].source.partition("\n")[0]
    text = (
        f"{title}: exercises\n\nRun the next cells first. They compute what the chapter computed."
    )
    cells = [new_markdown_cell(text)]
    for cell in source.cells:
        if {"parameters", "setup"} & set(cell.metadata.get("tags", [])):
            code = cell.source.replace('profile = "book"', f'profile = "{profile}"')
            cells.append(new_code_cell(code, metadata=cell.metadata))
    for exercise in exercises_of(chapter):
        text = f"## {BOOK.places[exercise.label][0]}\n\n{exercise.text}"
        cells += [new_markdown_cell(text), new_code_cell(BLANK)]
        cells.append(new_code_cell(check_cell(exercise)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    made = new_notebook(cells=cells, metadata={"kernelspec": source.metadata["kernelspec"]})
    make_plain(made, BOOK)
    return made


def check_cell(exercise: Exercise) -> str:
    """The check as the student runs it: a sentence in place of a traceback."""
    names = ", ".join(f'"{name}"' for name in exercise.answers)
    head = f"from mcu_lite.book.exercises import check\n\n\n@check({names})\ndef right():\n"
    return head + indent(exercise.check, "    ")


if __name__ == "__main__":
    main()
