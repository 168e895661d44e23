"""Glossary, notation, and which chapter uses which function."""

import os
import re
import sys

import pytest
import yaml
from browsing import ROOT, SITE
from bs4 import BeautifulSoup

sys.path.insert(0, str(ROOT / "book" / "extensions"))
from used_in import code_of, home, named_in, pages, uses  # noqa: E402

BOOK = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("*.md")}
GLOSSARY = BOOK["glossary"].partition("```{glossary}\n")[2]
TERMS = re.findall(r"^(\S.*)\n  \S", GLOSSARY, re.M)
LINKS = {name: re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", text) for name, text in BOOK.items()}
CHAPTERS = [name for name, text in BOOK.items() if "\n## Exercises\n" in text]


def prose(name):
    """A page's text without its code."""
    return re.sub(r"^(`{3,})(?!\{math).*?^\1$", "", BOOK[name], flags=re.S | re.M)


def test_terms_are_in_order_and_each_is_linked():
    assert len(TERMS) > 30 and TERMS == sorted(TERMS, key=lambda t: t.lower().replace("é", "e"))
    assert set(TERMS) == {term for links in LINKS.values() for term in links}


def test_links_name_a_term_and_every_chapter_has_some():
    unknown = {(name, t) for name, links in LINKS.items() for t in links if t not in TERMS}
    assert not unknown
    assert not [name for name in CHAPTERS if not LINKS[name]]
    twice = [(n, t) for n in CHAPTERS for t in LINKS[n] if LINKS[n].count(t) > 1]
    assert not twice, "only the first use is a link"


def test_a_term_is_linked_in_the_books_first_chapter_that_uses_it():
    order = [page.removeprefix("book/") for page in pages(ROOT)]
    for term in ("oracle", "control point", "membership inference", "SuperLoss", "Sophia"):
        first = next(n for n in order if n in CHAPTERS and re.search(term, prose(n), re.I))
        assert term in LINKS[first], (term, first)


SYMBOL = r"\\(?:theta|phi|varepsilon|lambda|tau|sigma|rho|eta|ell|tilde|hat)\b|[A-Za-z](?![A-Za-z])"


def symbols(maths):
    """Base symbols of a formula: Greek letters, decorations and single Latin letters."""
    bare = re.sub(r"\\(?:text|begin|end|operatorname|q?quad|[!,;])(?:\{[^}]*\})?", " ", maths)
    bare = re.sub(
        r"\\(?!theta|phi|varepsilon|lambda|tau|sigma|rho|eta|ell|tilde|hat)[A-Za-z]+", " ", bare
    )
    return set(re.findall(SYMBOL, bare))


def formulas(name):
    text = prose(name)
    return re.findall(r"\$\$(.*?)\$\$", text, re.S) + re.findall(
        r"(?<!\$)\$([^$\n]+)\$(?!\$)", text
    )


def test_every_symbol_of_the_chapters_is_in_the_notation():
    listed = symbols(" ".join(formulas("notation"))) | {r"\lambda", "y", "b", "w"}
    for name in CHAPTERS:
        missing = set().union(*map(symbols, formulas(name)), set()) - listed
        assert not missing, (name, missing)


def test_each_symbol_is_defined_once_and_first_where_it_says():
    rows = re.findall(r"^\| (.*?) \| .*? \| (.*?) \| .*?\|$", BOOK["notation"], re.M)[1:]
    named = [re.sub(r" = .*", "", s.strip()) for row, _ in rows for s in row.split(",")]
    assert len(named) == len(set(named))
    order = [page.removeprefix("book/") for page in pages(ROOT)]
    for row, place in rows:
        for symbol in re.findall(r"\$(.*?)\$", row):
            where = place[len("{doc}`") : -1]
            early = order[: order.index(where)]
            assert symbol in " ".join(formulas(where)), (symbol, where)
            assert symbol not in [f for n in early for f in formulas(n)], symbol


def test_names_are_resolved_under_every_alias():
    code = """
import mcu_lite as m
import mcu_lite.relearning
from mcu_lite.paths import trajectories as tr
from mcu_lite.tasks.task import load_task as get
table = m.evaluate(path).query("x")
def f(x): return [tr.progress(y) for y in x]
get("digits"); m.METHODS["npo"]; other.train(); mcu_lite.metrics.relearning.area(table)
"""
    assert named_in(code) == {
        "mcu_lite.metrics.evaluation.evaluate",
        "mcu_lite.paths.trajectories.progress",
        "mcu_lite.tasks.task.load_task",
        "mcu_lite.metrics.relearning.area",
    }
    assert home("mcu_lite.nothing") is None


def test_every_call_in_the_chapters_is_in_the_table():
    found = uses(ROOT)
    for page in pages(ROOT):
        for name in set(re.findall(r"\bmcu\.(\w+)\(", code_of(ROOT, page))):
            assert page in found[home(f"mcu_lite.{name}")], (page, name)
    for name, where in found.items():
        last = name.rpartition(".")[2]
        assert where and all(re.search(rf"\b{last}\b", code_of(ROOT, p)) for p in where), name


@pytest.fixture(scope="module")
def site():
    if not SITE.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no built book at {SITE}")
    return {
        n: BeautifulSoup((SITE / f"book/{n}.html").read_text(encoding="utf-8"), "html.parser")
        for n in BOOK
    }


def test_the_table_leads_to_the_reference_and_the_reference_back(site):
    for name, where in uses(ROOT).items():
        assert site["uses"].select_one(f'a[href="api.html#{name}"]'), name
        entry = site["api"].find(id=name).find_parent("dl")
        links = {a["href"].partition("#")[0] for a in entry.select("a[href]")}
        assert {f"{page.removeprefix('book/')}.html" for page in where} <= links, name


def test_solutions_are_closed_and_terms_lead_to_the_glossary(site):
    for name in CHAPTERS:
        solutions = site[name].select("div.solution")
        assert solutions and all("dropdown" in s["class"] for s in solutions)
        assert all(s.select(".check") for s in solutions)
        terms = site[name].select('a[href^="glossary.html#term-"]')
        anchors = [site["glossary"].find(id=a["href"].partition("#")[2]) for a in terms]
        assert anchors and all(anchors), name


def test_new_pages_are_in_the_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert {p.removeprefix("book/") for p in pages(ROOT)} == set(BOOK), toc


def test_ones_own_method_metric_data_and_network_take_less_than_forty_lines():
    cells = re.findall(r"```\{code-cell\} python\n(.*?)```", BOOK["bring-your-own"], re.S)
    shown = [cell for cell in cells if not cell.startswith(":tags:")]
    lines = [line for cell in shown for line in cell.splitlines() if line.strip()]
    text = "\n".join(lines)
    assert len(lines) < 40
    for part in ("@mcu.method", "@mcu.metric", "nn.Module", "task_of", "scrub", "Finding("):
        assert part in text
