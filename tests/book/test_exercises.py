"""The notebooks of exercises: blanks are named, solutions pass, wrong answers are refused."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from mcu_lite.book.exercises import NotYet, check

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import kernels  # noqa: E402
from exercises import BLANK, exercises_of, notebook  # noqa: E402

CHAPTERS = [page for page in sorted((ROOT / "book").glob("*.md")) if exercises_of(page)]
OVERRIDDEN = {"unlearning", "mode-connectivity", "connectivity-in-unlearning"}
"""Chapters that compute everything anew take another parameter at no cost; others hit the cache."""
SPOIL = '''
def spoil(answer):
    """Return something of the same kind that is wrong."""
    import pandas as pd, torch, mcu_lite as mcu
    from dataclasses import replace
    if isinstance(answer, mcu.Stack):
        return answer.with_rows(torch.zeros_like(answer.rows))
    if isinstance(answer, mcu.Path):
        return replace(answer, control=torch.zeros_like(answer.control))
    if isinstance(answer, mcu.Task):
        return mcu.load_task("digits", seeds=len(answer))
    if isinstance(answer, mcu.Setting):
        return replace(answer, options={})
    if isinstance(answer, mcu.Endpoint):
        return mcu.Endpoint(answer.method)
    if isinstance(answer, torch.nn.Module):
        return type(answer)()
    if isinstance(answer, torch.Tensor):
        return -1.5 * answer - 1
    if isinstance(answer, pd.DataFrame):
        wrong = answer.copy()
        for name in wrong:
            kind = wrong[name].dtype.kind
            if kind == "f" and name != "t":
                wrong[name] = -1.5 * wrong[name] - 1
            elif kind == "b":
                wrong[name] = ~wrong[name].astype(bool)
        return wrong
    if isinstance(answer, pd.Series):
        return -1.5 * answer - 1
    if isinstance(answer, dict):
        return {key: -1.5 * value - 1 for key, value in answer.items()}
    return None
'''


def executed(chapter):
    """Every check on a blank, on the solution, on a spoiled solution and on None, in this order."""
    source = notebook(chapter, "ci")
    if chapter.stem in OVERRIDDEN:
        first = source.cells[1]
        first.source = re.sub(r"forget = [\d.]+", "forget = 0.2", first.source)
    exercises, cells = exercises_of(chapter), iter(source.cells)
    source.cells = [next(c for c in cells if c.cell_type == "code")]
    for cell in cells:
        if cell.source != BLANK:
            source.cells.append(cell)
            continue
        judge, own = next(cells).source, exercises[sum(BLANK in c.source for c in source.cells)]
        for answer in (
            BLANK,
            own.solution,
            "\n".join(f"{n} = spoil({n})" for n in own.answers),
            "\n".join(f"{n} = None" for n in own.answers),
        ):
            source.cells += [new_code_cell(answer), new_code_cell(judge)]
    source.cells.insert(0, new_code_cell(SPOIL))
    # A kernel may send one print in two pieces.
    options = {"timeout": 600, "allow_errors": True, "coalesce_streams": True}
    resources = {"metadata": {"path": str(chapter.parent)}}
    options |= {"kernel_manager_class": kernels.MANAGER, "shutdown_kernel": "immediate"}
    kernels.prepare()
    NotebookClient(source, resources=resources, **options).execute()
    return source, exercises


def said(cell):
    """What a code cell printed, or its error."""
    (output,) = cell.outputs
    return output.text if output.output_type == "stream" else f"{output.ename}: {output.evalue}"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_checks_tell_blanks_from_solutions_and_from_wrong_answers(chapter):
    done, exercises = executed(chapter)
    code = [cell for cell in done.cells if cell.cell_type == "code"]
    checks = [cell for cell in code if "import check\n" in cell.source]
    failed = [
        c for c in code if c not in checks and any(o.output_type == "error" for o in c.outputs)
    ]
    assert not [(c.source, c.outputs[-1].evalue) for c in failed]
    assert len(checks) == 4 * len(exercises)
    for number, exercise in enumerate(exercises):
        blank, solved, *wrong = checks[4 * number : 4 * number + 4]
        assert said(blank).startswith("NotYet: ") and "Write your code" in said(blank)
        assert blank.outputs[0].traceback == [f"Not yet: {blank.outputs[0].evalue}"]
        assert said(solved) == "Right.\n", (exercise.label, said(solved))
        assert all(said(cell).startswith("NotYet: ") for cell in wrong), (exercise.label, wrong)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_a_notebook_holds_what_a_student_needs_and_no_solution(chapter):
    made, exercises = notebook(chapter, "book"), exercises_of(chapter)
    nbformat.validate(made)
    assert made == notebook(chapter, "book")
    sources = [cell.source for cell in made.cells]
    assert sources.count(BLANK) == len(exercises) >= 2
    for exercise in exercises:
        assert exercise.answers and exercise.check.count("assert ") >= 1
        assert all(f"`{name}`" in exercise.text for name in exercise.answers), exercise.label
        assert not [s for s in sources if exercise.solution in s]
        # A name that the chapter binds would make a blank look like an answer.
        first = "\n".join(sources[: sources.index(BLANK)])
        assert not [n for n in exercise.answers if re.search(rf"^{n} = ", first, re.M)]
    texts = [cell.source for cell in made.cells if cell.cell_type == "markdown"]
    assert not [text for text in texts if re.search(r"\{\w+\}`", text)]


def test_a_check_says_what_is_wrong(capsys):
    def missing(*answers):
        @check(*answers)
        def right():
            assert answer == 1  # noqa: F821

    with pytest.raises(NotYet, match="`answer` does not exist. Write your code"):
        missing("answer")
    with pytest.raises(NotYet, match="`answer` does not exist. Run the cells at the top"):
        missing("other")
    with pytest.raises(NotYet, match=r"cannot be read \(TypeError: .*\)"):
        check("x")(lambda: len(3))
    with pytest.raises(NotYet, match="not right"):
        check("x")(lambda: (_ for _ in ()).throw(AssertionError()))
    assert not capsys.readouterr().out
    check("x")(lambda: None)
    assert capsys.readouterr().out == "Right.\n"
