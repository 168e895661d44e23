"""What the pages say of themselves elsewhere, and where their buttons lead."""

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "extensions"))
import launch  # noqa: E402

pytestmark = pytest.mark.xdist_group("sharing")  # one process builds both books
FIGURE = '<svg class="mcu-figure" viewBox="0 0 90 90" style="width:100%" role="img" '
FIGURE += 'aria-label="A &quot;dot&quot;">'
FIGURE += '<circle cx="45" cy="45" r="40" fill="var(--mcu-forget, #D55E00)"/></svg>'


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://github.com/someone/a-fork.git", ("github.com", "someone/a-fork")),
        ("https://github.com/someone/a.b", ("github.com", "someone/a.b")),
        ("https://user:secret@github.com/someone/fork/", ("github.com", "someone/fork")),
        ("git@github.com:someone/fork.git", ("github.com", "someone/fork")),
        ("ssh://git@gitlab.com/group/sub/fork.git", ("gitlab.com", "group/sub/fork")),
        ("", None),
        ("/srv/git/book", None),
        ("../book.git", None),
        ("file:///srv/git/book", None),
        ("https://git.example.org/someone/fork", None),
        ("https://github.com.example.org/someone/fork", None),
        ("https://example.org/github.com/someone/fork", None),
        ("https://github.com/someone", None),
        ("https://github.com/someone/fork?x=<y>", None),
    ],
)
def test_only_remotes_on_public_hosts_name_a_repository(address, expected):
    assert launch.repository(address) == expected


def test_the_remote_is_that_of_the_clone_itself(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    assert launch.remote(tmp_path) == ""
    git("init")
    assert launch.remote(tmp_path) == ""
    git("remote", "add", "origin", "git@github.com:someone/fork.git")
    assert launch.remote(tmp_path) == "git@github.com:someone/fork.git"
    (tmp_path / "copy").mkdir()
    assert launch.remote(tmp_path / "copy") == ""


def test_buttons_open_the_text_on_binder_and_the_published_notebook_in_colab():
    fork = ("github.com", "someone/fork")
    binder = "https://mybinder.org/v2/gh/someone/fork/HEAD?urlpath=lab/tree/book/index.md"
    colab = "https://colab.research.google.com/github/someone/fork/blob/gh-pages/_sources/book/"
    assert launch.links(fork, "book/index", published=False) == {"Binder": binder}
    both = {"Binder": binder, "Colab": colab + "index.ipynb"}
    assert launch.links(fork, "book/index", published=True) == both
    lab = ("gitlab.com", "group/sub/fork")
    (address,) = launch.links(lab, "book/index", published=True).values()
    assert address.startswith("https://mybinder.org/v2/gl/group%2Fsub%2Ffork/HEAD?")
    assert launch.links(None, "book/index", published=True) == {}


# A book of three pages, built as the real one is


def build(folder, **settings):
    """Build it with the book's own configuration; return the site."""
    source, out = folder / "source", folder / "out"
    (source / "book").mkdir(parents=True)
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    config = config.replace("execute_notebooks: cache", 'execute_notebooks: "off"')
    config = config.replace("book/extensions", str(ROOT / "book" / "extensions"))
    config += "".join(f"    {name}: {value}\n" for name, value in settings.items())
    (source / "_config.yml").write_text(config, encoding="utf-8")
    (source / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\n"
        "chapters: [{file: book/cluster}, {file: book/methods}]\n",
        encoding="utf-8",
    )
    shutil.copy(ROOT / "book" / "references.bib", source / "book")
    shutil.copytree(ROOT / "book" / "templates", source / "book" / "templates")
    for name in ("assets", "vendor"):
        (source / "book" / name).mkdir()
    shutil.copy(ROOT / "book" / "assets" / "favicon.svg", source / "book" / "assets")
    (source / "book" / "cluster.md").write_text(
        "# On a *cluster*\n\nNo figure & no code.\n\n"
        ":::{dropdown} It `falls` & rises.\nNo, see {doc}`index`.\n\n- a\n:::\n\nThen.\n",
        encoding="utf-8",
    )
    text = nbformat.v4.new_markdown_cell("# The first page\n\n**The question.** " + "word " * 90)
    code = nbformat.v4.new_code_cell("figure", execution_count=1)
    code.outputs = [nbformat.v4.new_output("display_data", {"text/html": FIGURE})]
    notebook = nbformat.v4.new_notebook(cells=[text, code])
    nbformat.write(notebook, source / "book" / "index.ipynb")
    notebook.metadata["description"] = "Said in the front matter."
    notebook.cells.append(nbformat.v4.new_markdown_cell("A formula: $x^2$."))
    nbformat.write(notebook, source / "book" / "methods.ipynb")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source]
    done = subprocess.run([*command, "--path-output", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    return build(tmp_path_factory.mktemp("private"), book_remote="/srv/git/book")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return build(
        tmp_path_factory.mktemp("published"),
        book_remote="https://token@github.com/someone/fork.git",
        book_address="https://someone.example.org/fork",
    )


def page(site, name):
    return BeautifulSoup((site / "book" / f"{name}.html").read_text("utf-8"), "html.parser")


def tags(soup):
    found = soup.select("meta[property], meta[name]")
    return {tag.get("property") or tag["name"]: tag["content"] for tag in found}


def test_without_a_public_repository_there_is_no_dead_button(private):
    html = (private / "book" / "index.html").read_text(encoding="utf-8")
    assert not [word for word in ("binder", "colab", "github.com/") if word in html.lower()]
    assert "og:url" not in tags(page(private, "index"))
    notebook = nbformat.read(private / "_sources/book/index.ipynb", as_version=4)
    assert "pip install" not in str(notebook)


def test_a_forks_buttons_open_the_fork(published):
    html = (published / "book" / "index.html").read_text(encoding="utf-8")
    assert "token" not in html
    links = page(published, "index").select("a[href*='someone/fork']")
    addresses = [link["href"] for link in links]
    assert sum("mybinder.org/v2/gh/someone/fork/" in address for address in addresses) == 1
    assert sum("colab.research.google.com" in address for address in addresses) == 1
    assert "https://github.com/someone/fork" in addresses
    plain = (published / "book" / "cluster.html").read_text(encoding="utf-8")
    assert "mybinder" not in plain and "https://github.com/someone/fork" in plain


def test_the_executed_notebook_and_its_source_can_be_downloaded(published):
    soup = page(published, "index")
    downloads = {Path(a["href"]).suffix: a["href"] for a in soup.select("a[href*='_sources']")}
    assert set(downloads) == {".ipynb", ".md"}
    files = {end: (published / "book" / href).resolve() for end, href in downloads.items()}
    notebook = nbformat.read(files[".ipynb"], as_version=4)
    nbformat.validate(notebook)
    assert "git+https://github.com/someone/fork" in notebook.cells[0].source
    assert notebook.cells[-1].outputs
    assert files[".md"].read_bytes() == (ROOT / "book" / "index.md").read_bytes()


def test_previews_show_title_first_paragraph_and_first_figure(private, published):
    for site, address in ((private, ""), (published, "https://someone.example.org/fork/")):
        found = tags(page(site, "index"))
        assert found["og:title"] == "The first page"
        assert found["og:description"].startswith("The question. word word")
        assert found["description"] == found["og:description"]
        assert 150 < len(found["og:description"]) <= 200
        assert found["og:image:alt"] == 'A "dot"'
        base = urljoin(address, "book/index.html") if address else (site / "book/x").as_uri()
        assert found.get("og:url", base) == base
        image = urljoin(base, found["og:image"]).replace(address or site.as_uri(), "").lstrip("/")
        with Image.open(site / image) as picture:
            assert picture.size == (1200, 630)
            assert picture.getpixel((870, 350))[:3] == (0xD5, 0x5E, 0x00)
    other = tags(page(private, "cluster"))
    assert (other["og:title"], other["og:description"]) == (
        "On a cluster",
        "No figure & no code.",
    )
    assert other["og:image"] != tags(page(private, "index"))["og:image"]


def test_a_pages_own_description_comes_first(private):
    assert tags(page(private, "methods"))["og:description"] == "Said in the front matter."


def test_any_static_host_serves_the_folder(private):
    assert (private / ".nojekyll").exists()
    for html in private.rglob("*.html"):
        soup = BeautifulSoup(html.read_text("utf-8"), "html.parser")
        found = [t.get("href") or t.get("src") for t in soup.select("[href], [src]")]
        assert not [address for address in found if address.startswith("/")], html


def test_pages_load_no_script_that_they_do_not_use(private):
    for name, formulas in (("index", False), ("cluster", False), ("methods", True)):
        loaded = {urlsplit(tag["src"]).path for tag in page(private, name).select("script[src]")}
        names = {address.rpartition("/")[2] for address in loaded}
        assert "bootstrap.js" in names and "fontawesome.js" not in names
        assert ("katex.min.js" in names) == formulas, name


def test_a_guess_unfolds_without_a_script(private):
    (guess,) = page(private, "cluster").select("details.mcu-guess")
    summary, text, points = guess.find_all(recursive=False)
    assert (summary.name, summary.get_text()) == ("summary", "It falls & rises.")
    assert summary.code and text.a["href"] == "index.html" and points.name == "ul"
    assert guess.find_next_sibling("p").get_text() == "Then."
