"""Measure the studies, execute the chapters at a profile, render them with warnings as errors."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import chdir, redirect_stderr, redirect_stdout
from html import unescape
from pathlib import Path

import jupytext
import kernels
import nbformat
import papermill

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
INPUTS = ["mcu_lite/**/*.py", "mcu_lite/**/*.js", "mcu_lite/**/*.css", "mcu_lite/book/measured/*"]
INPUTS += ["constraints.txt", "scripts/build.py", "scripts/kernels.py"]
LONGEST = (
    "an-auditors-view",
    "different-methods",
    "how-much-is-forgotten",
    "both-switches",
    "relearning",
)
"""Chapters that compute most, in this order."""
WORKERS = min(os.cpu_count() or 1, 4)
sys.path.insert(0, str(BOOK / "extensions"))
from used_in import pages  # noqa: E402


def main() -> None:
    """Build the book at the profile named on the command line, into _build/<profile>."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile")
    profile = parser.parse_args().profile
    began = time.perf_counter()
    out = ROOT / "_build" / profile
    source = out / "source"
    stage(source)
    # Two processes of small models beat one with two threads.
    os.environ["OMP_NUM_THREADS"] = str((os.cpu_count() or 1) // WORKERS)
    kernels.prepare()
    measure_studies(profile)
    execute_all(source / "book", profile)
    executed = time.perf_counter() - began
    render(source, out)
    page = out / "_build" / "html" / "index.html"
    took = time.perf_counter() - began
    print(f"{page.relative_to(ROOT)} in {took:.0f} s, of which chapters {executed:.0f} s")
    report(notes(source / "book"), profile)


def measure_studies(profile: str) -> None:
    """Measure the large studies on all cores; the chapters find them in the cache."""
    import mcu_lite as mcu
    from mcu_lite.book.atlas import shown
    from mcu_lite.book.photograph_study import pictured, small_run
    from mcu_lite.book.recorded import PATHS, digits
    from mcu_lite.book.text_study import conditions, text_setting

    setting = mcu.load_profile(profile)
    studies = {
        "photographs": (mcu.run, small_run(), pictured(setting)),
        "texts": (mcu.run, conditions(), text_setting(setting)),
        "evidence": (mcu.run, [c for own in PATHS for c in own], digits(setting)),
        "grid": (mcu.run, shown(), setting),
    }
    began = time.perf_counter()
    # Side by side: where one has a single thing to do first, another one keeps the cores busy.
    with (
        futures.ProcessPoolExecutor(WORKERS, mp_context=kernels.server) as workers,
        futures.ThreadPoolExecutor(len(studies)) as threads,
    ):
        jobs = {threads.submit(*study, executor=workers): name for name, study in studies.items()}
        for job, _ in results(jobs, workers):
            print(f"{jobs[job]}: after {time.perf_counter() - began:.1f} s", flush=True)


def results(jobs: Iterable[futures.Future], pool: futures.Executor) -> Iterator[tuple]:
    """Yield each job with its result when it ends; after an error, `pool` begins nothing else."""
    try:
        for job in futures.as_completed(jobs):
            yield job, job.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def stage(source: Path) -> None:
    """Copy what rendering needs; chapters that an earlier run executed stay."""
    skip = shutil.ignore_patterns("extensions", "*.ipynb", *(page.name for page in chapters()))
    shutil.copytree(BOOK, source / "book", ignore=skip, dirs_exist_ok=True)
    shutil.copy(ROOT / "_toc.yml", source)
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    config = config.replace("execute_notebooks: cache", 'execute_notebooks: "off"')
    config = config.replace("book/extensions", os.path.relpath(BOOK / "extensions", source))
    (source / "_config.yml").write_text(config, encoding="utf-8")


def chapters() -> list[Path]:
    """Pages that hold code, in the order of the contents."""
    every = (ROOT / f"{page}.md" for page in pages(ROOT))
    return [page for page in every if "```{code-cell}" in page.read_text(encoding="utf-8")]


def execute_all(folder: Path, profile: str) -> None:
    """Execute the chapters, as many at once as cores."""
    with chdir(BOOK), futures.ThreadPoolExecutor(WORKERS) as pool:
        # Those that compute most start first, so that no core waits for one at the end.
        order = {name: place for place, name in enumerate(LONGEST)}
        pages = sorted(chapters(), key=lambda page: order.get(page.stem, len(order)))
        jobs = [pool.submit(execute, page, folder, profile) for page in pages]
        for done, (_, report) in enumerate(results(jobs, pool), 1):
            print(f"[{done}/{len(jobs)}] {report}", flush=True)


def execute(chapter: Path, folder: Path, profile: str) -> str:
    """Execute one chapter if its source, the package or the profile changed; say what it took."""
    began = time.perf_counter()
    target, key = folder / f"{chapter.stem}.ipynb", fingerprint(chapter, profile)
    if target.exists() and nbformat.read(target, as_version=4).metadata.get("key") == key:
        return f"{chapter.stem}: unchanged"
    notebook = papermill.execute_notebook(
        jupytext.read(chapter),
        None,
        {"profile": profile},
        kernel_name="python3",
        progress_bar=False,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        # Nothing is left to tidy up, and a kernel that is asked to stop takes a second for it.
        shutdown_kernel="immediate",
        kernel_manager_class=kernels.MANAGER,
    )
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("remove-cell")
            cell.metadata["jupyter"] = {"source_hidden": True}
    notebook.metadata.pop("papermill", None)
    notebook.metadata["key"] = key
    nbformat.write(notebook, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)
    return f"{chapter.stem}: {time.perf_counter() - began:.1f} s{kernels.peak_memory()}"


def fingerprint(chapter: Path, profile: str) -> str:
    """Digest of everything that an executed chapter depends on."""
    inputs = (path for pattern in INPUTS for path in sorted(ROOT.glob(pattern)))
    parts = [profile.encode(), *(path.read_bytes() for path in (chapter, *inputs))]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def render(source: Path, out: Path) -> None:
    """Render the staged book; exit with the end of the log if there is any warning."""
    from jupyter_book.cli.main import main as jupyter_book

    log, command = out / "render.log", ["build", str(source), "--path-output", str(out)]
    # In this process, which has imported the package that the reference imports.
    with log.open("w", encoding="utf-8") as to, redirect_stdout(to), redirect_stderr(to):
        try:
            jupyter_book([*command, "-W", "-n", "--keep-going"], standalone_mode=False)
        except (RuntimeError, SystemExit):
            sys.exit(f"{log.read_text(encoding='utf-8')[-6000:]}\nrendering failed")


def notes(folder: Path) -> list[str]:
    """What guards put under sentences that do not hold here, in the book's order."""
    from mcu_lite.book.guards import NOTE

    found = []
    for chapter in chapters():
        cells = nbformat.read(folder / f"{chapter.stem}.ipynb", as_version=4).cells
        outputs = (output for cell in cells for output in cell.get("outputs", []))
        shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
        said = re.findall(rf'<p class="{NOTE}">(.*?)</p>', shown, re.S)
        found += [f"{chapter.stem}: {unescape(note)}" for note in said]
    return found


def report(found: list[str], profile: str) -> None:
    """Print the notes; with STRICT=1 none may stand in the book that is published."""
    print(*found, sep="\n", end="\n" * bool(found))
    if found and profile == "book" and os.environ.get("STRICT") == "1":
        sys.exit(f"{len(found)} sentences do not hold: rewrite them")


if __name__ == "__main__":
    main()
