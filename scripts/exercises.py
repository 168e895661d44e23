"""Write each chapter's exercises as a notebook: what to run first, the task, a blank, a check."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
BLANK = "# write your code here"


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
            target = out / chapter.with_suffix(".ipynb").name
            nbformat.write(notebook(chapter, profile), target)
            print(target.relative_to(ROOT))


def exercises_of(chapter: Path) -> list[Exercise]:
    """Read the exercises of a chapter with their solutions and checks."""
    page = chapter.read_text(encoding="utf-8")
    texts = re.findall(r"^```\{exercise\}\n:label: (\S+)\n\n(.*?)\n```$", page, re.S | re.M)
    solved = re.findall(r"^````\{solution\} (\S+)\n(.*?)\n````$", page, re.S | re.M)
    bodies = dict(solved)
    return [Exercise(label, text, *_code(bodies[label])) for label, text in texts]


def _code(body: str) -> tuple[str, str]:
    """The code of a solution and of its check."""
    solution = re.findall(r"^```python\n(.*?)\n```$", body, re.S | re.M)
    check = re.findall(
        r"^```\{code-block\} python\n:class: check\n\n(.*?)\n```$", body, re.S | re.M
    )
    return "\n".join(solution), "\n".join(check)


def notebook(chapter: Path, profile: str) -> nbformat.NotebookNode:
    """Build the notebook that a student opens; `profile` says how much its first cells compute."""
    source, exercises = jupytext.read(chapter), exercises_of(chapter)
    tagged = (c.source for c in source.cells if {"parameters", "setup"} & tags(c))
    first = [code.replace('profile = "book"', f'profile = "{profile}"') for code in tagged]
    title = re.search(r"^# (.*)$", chapter.read_text(encoding="utf-8"), re.M)[1]
    head = (
        f"# {title}: exercises\n\nRun the next cells first. They compute what the chapter computed."
    )
    cells = [new_markdown_cell(head), *map(new_code_cell, first)]
    for number, exercise in enumerate(exercises, 1):
        cells += [
            new_markdown_cell(f"## Exercise {number}\n\n{plain(exercise.text)}"),
            new_code_cell(BLANK),
            new_code_cell(check_cell(exercise)),
        ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return new_notebook(cells=cells, metadata={"kernelspec": source.metadata["kernelspec"]})


def tags(cell: nbformat.NotebookNode) -> set[str]:
    """Tags of a cell; those of what exercises need are "parameters" and "setup"."""
    return set(cell.metadata.get("tags", []))


def check_cell(exercise: Exercise) -> str:
    """The check as the student runs it: a sentence in place of a traceback."""
    names = ", ".join(f'"{name}"' for name in exercise.answers)
    body = "\n".join(f"    {line}" if line else "" for line in exercise.check.splitlines())
    head = "from mcu_lite.book.exercises import check"
    return f"{head}\n\n\n@check({names})\ndef right():\n{body}"


def plain(text: str) -> str:
    """Write a page's text without the roles that only the book knows."""
    return re.sub(r"\{[\w:]+\}(`[^`]+`)", r"\1", text)


if __name__ == "__main__":
    main()
