"""Write each chapter's exercises as a notebook: what to run first, the task, a blank, a check."""

from __future__ import annotations

import argparse
import ast
import builtins
import re
import symtable
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
BLANK = "# write your code here"
SHELL = {"display", "get_ipython", *vars(builtins)}


@dataclass(frozen=True)
class Exercise:
    """An exercise of a chapter: its label, what it asks, its solution and its check, as code."""

    label: str
    text: str
    solution: str
    check: str

    @property
    def answers(self) -> list[str]:
        """Names that the solution binds and the check reads."""
        read = read_by(self.check) - assigned_by(self.check)
        return sorted(assigned_by(self.solution) & read, key=self.text.find)


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
    page = chapter.read_text()
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
    code = [cell.source for cell in source.cells if cell.cell_type == "code"]
    first = [
        re.sub('profile = "book"', f'profile = "{profile}"', c) for c in setup(code, exercises)
    ]
    title = re.search(r"^# (.*)$", chapter.read_text(), re.M)[1]
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


def check_cell(exercise: Exercise) -> str:
    """The check as the student runs it: a sentence in place of a traceback."""
    names = ", ".join(f'"{name}"' for name in exercise.answers)
    body = "\n".join(f"    {line}" if line else "" for line in exercise.check.splitlines())
    head = "from mcu_lite.book.exercises import check"
    return f"{head}\n\n\n@check({names})\ndef right():\n{body}"


def setup(code: list[str], exercises: list[Exercise]) -> list[str]:
    """Return the cells of a chapter that its exercises need, in their order; the first always."""
    wanted = set()
    for exercise in exercises:
        for code_of in (exercise.solution, exercise.check):
            wanted |= read_by(code_of) - assigned_by(exercise.solution) - assigned_by(code_of)
    kept = []
    for number, cell in reversed(list(enumerate(code))):
        if number == 0 or bound_by(cell) & wanted:
            kept.insert(0, cell)
            wanted |= read_by(cell)
    missing = wanted - SHELL - set().union(*map(bound_by, kept))
    if missing:
        raise ValueError(f"exercises use names that no cell of their chapter binds: {missing}")
    return kept


def read_by(code: str) -> set[str]:
    """Global names that some code reads, at its top level or inside of its functions."""
    table = symtable.symtable(code, "cell", "exec")
    names = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    inner, todo = set(), list(table.get_children())
    while todo:
        scope = todo.pop()
        todo += scope.get_children()
        inner |= {s.get_name() for s in scope.get_symbols() if s.is_global() and s.is_referenced()}
    return names | inner


def assigned_by(code: str) -> set[str]:
    """Names that some code binds at its top level."""
    table = symtable.symtable(code, "cell", "exec")
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}


def bound_by(code: str) -> set[str]:
    """Names that some code binds at its top level, or whose content it changes."""
    names = assigned_by(code)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            names |= _root(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            names |= _root(node.value.func) if isinstance(node.value.func, ast.Attribute) else set()
    return names


def _root(node: ast.expr) -> set[str]:
    """The name that a chain of attributes and indices begins with."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def plain(text: str) -> str:
    """Write a page's text without the roles that only the book knows."""
    return re.sub(r"\{[\w:]+\}(`[^`]+`)", r"\1", text)


if __name__ == "__main__":
    main()
