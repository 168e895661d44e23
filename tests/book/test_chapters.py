"""The chapters as they were executed at the ci profile; `make test` builds them first."""

import re
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book").glob("*.md"))
CHAPTERS = [page for page in PAGES if "```{code-cell}" in page.read_text(encoding="utf-8")]
APPENDIX = {"index", "methods", "tuning", "scorecard", "atlas", "bring-your-own", "teaching"}
APPENDIX |= {"large-models"}


def executed(chapter):
    path = ROOT / "_build" / "ci" / "source" / "book" / f"{chapter.stem}.ipynb"
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make book PROFILE=ci` first")
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_it_ran_quietly_at_the_profile_it_was_given(chapter):
    code = [cell for cell in executed(chapter).cells if cell.cell_type == "code"]
    assert any('profile = "ci"' in cell.source for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert all(cell.execution_count for cell in code)
    assert not [o for o in outputs if o.output_type in ("stream", "error")]
    assert not [o for o in outputs if "it/s" in str(o.get("data", ""))]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_its_computed_sentences_are_complete(chapter):
    outputs = [o for cell in executed(chapter).cells for o in cell.get("outputs", [])]
    texts = [o.data["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {})]
    bare = [re.sub(r"\{[\w:]+\}`", "`", text) for text in texts]  # roles are no open braces
    assert not [t for t in bare if re.search(r"\bnan\b|<NA>|\{\w", t)]


@pytest.mark.parametrize(
    "chapter", [c for c in CHAPTERS if c.stem not in APPENDIX], ids=lambda p: p.stem
)
def test_it_has_the_sections_of_a_chapter(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert re.search(r"^# .+\n\n[^\n*`#].+\?", text, re.M | re.S) and "\n**The answer.** " in text
    assert text.index("**The answer.**") < text.index("tags: [parameters")
    headings = re.findall("^## (.+)$", text, re.M)
    assert headings[-2] == "Exercises" and "What it means" in headings
    assert "mcu.scrub(" in text or "mcu.picture(" in text or "forest(" in text
    assert "holds(" in text
    assert not re.search(r"^    .*\belse\b", hidden_code(text), re.M)
    labels = re.findall(r":label: (\S+)", text)
    assert 2 <= len(labels) == len(re.findall(r"\{solution\} (\S+)\n:class: dropdown", text))
    assert "{cite" in text or chapter.stem == "same-method-two-seeds"
    assert "mcu.download(" in text


def hidden_code(text):
    """Code of the cells that the page does not show."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, re.S | re.M)
    return "\n".join(cell for cell in cells if re.search("(remove|hide)-", cell))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_its_source_holds_no_outputs_and_no_results(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert text.startswith("---\njupytext:")
    prose = re.sub(r"```.*?\n```", "", text, flags=re.S)
    assert not re.search(r"\d ?(nats|%) (on|against|at) ", prose)


HIDDEN = {"remove-input", "hide-input", "remove-cell"}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_code_that_the_page_hides_is_folded_in_a_notebook(chapter):
    def folds(notebook):
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        return [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in code]

    source = jupytext.read(chapter)
    tags = [cell.metadata.get("tags", []) for cell in source.cells if cell.cell_type == "code"]
    assert folds(source) == [bool(HIDDEN & set(own)) for own in tags]
    # Whoever saves it in JupyterLab writes it so.
    assert folds(jupytext.reads(jupytext.writes(source, "md:myst"), "md:myst")) == folds(source)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_its_parameters_can_be_set(chapter):
    options = {"kernel_name": "python3", "prepare_only": True}
    given = papermill.execute_notebook(jupytext.read(chapter), None, {"profile": "ci"}, **options)
    tags = [cell.metadata.get("tags", []) for cell in given.cells]
    (own,) = (k for k, names in enumerate(tags) if "parameters" in names)
    assert tags[own + 1] == ["injected-parameters"]
    assert 'profile = "book"' in given.cells[own].source
    assert 'profile = "ci"' in given.cells[own + 1].source
