"""Measure the studies, execute the chapters at a profile, render them with warnings as errors."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from pathlib import Path
from threading import BoundedSemaphore

import jupytext
import kernels
import nbformat
import papermill

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
INPUTS = (
    "mcu_lite/**/*.py",
    "mcu_lite/**/*.js",
    "mcu_lite/book/measured/*",
    "constraints.txt",
    "scripts/build.py",
    "scripts/kernels.py",
)
WORKERS = min(os.cpu_count() or 1, 4)
sys.path.insert(0, str(BOOK / "extensions"))
from used_in import pages  # noqa: E402

KEYS = ["a", "b", "curve", "objective", "seed"]


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


def measure_studies(profile: str) -> None:
    """Measure the large studies on all cores; the chapters find them in the cache."""
    import mcu_lite as mcu
    from mcu_lite.book.evidence import on_photographs, pictured, retain_only
    from mcu_lite.book.text_study import SPOKEN, conditions, text_setting

    setting = mcu.load_profile(profile)
    studies = {
        "photographs": (on_photographs() + retain_only(["npo"]), pictured(setting)),
        "texts": (conditions() + retain_only(SPOKEN), text_setting(setting)),
        "grid": (mcu.grid() + retain_only(), setting),
    }
    began = time.perf_counter()
    # Side by side: where one has a single thing to do first, another one keeps the cores busy.
    # In turn: the long jobs of one must not wait for all the short ones of another to the end.
    with (
        ProcessPoolExecutor(WORKERS, mp_context=kernels.server) as workers,
        ThreadPoolExecutor(len(studies)) as threads,
    ):
        jobs = {
            threads.submit(mcu.run, *study, executor=InTurn(workers)): name
            for name, study in studies.items()
        }
        for job, table in results(jobs, workers):
            curves, seconds = table[KEYS].drop_duplicates(), time.perf_counter() - began
            print(f"{jobs[job]}: {len(curves)} curves, after {seconds:.1f} s", flush=True)


class InTurn(Executor):
    """Hands a pool a few jobs at a time, so that those of others come between."""

    def __init__(self, pool: Executor) -> None:
        self.pool, self.free = pool, BoundedSemaphore(WORKERS)

    def submit(self, *call: object, **options: object) -> Future:
        """Wait for one of the places, then submit."""
        self.free.acquire()
        job = self.pool.submit(*call, **options)
        job.add_done_callback(lambda _: self.free.release())
        return job


def results(jobs: Iterable[Future], pool: Executor) -> Iterator[tuple[Future, object]]:
    """Yield each job with its result when it ends; after an error, `pool` begins nothing else."""
    try:
        for job in as_completed(jobs):
            yield job, job.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def stage(source: Path) -> None:
    """Copy what rendering needs; chapters that an earlier run executed stay."""
    (source / "book").mkdir(parents=True, exist_ok=True)
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    extensions = os.path.relpath(BOOK / "extensions", source)
    (source / "_config.yml").write_text(
        config.replace("execute_notebooks: cache", 'execute_notebooks: "off"').replace(
            "book/extensions", extensions
        ),
        encoding="utf-8",
    )
    shutil.copy(ROOT / "_toc.yml", source)
    shutil.copy(BOOK / "references.bib", source / "book")
    for folder in ("assets", "templates", "vendor"):
        shutil.copytree(BOOK / folder, source / "book" / folder, dirs_exist_ok=True)
    for prose in set(BOOK.glob("*.md")) - set(chapters()):
        shutil.copy(prose, source / "book")


def chapters() -> list[Path]:
    """Pages that hold code, in the order of the contents."""
    every = (ROOT / f"{page}.md" for page in pages(ROOT))
    return [page for page in every if "```{code-cell}" in page.read_text(encoding="utf-8")]


def execute_all(folder: Path, profile: str) -> None:
    """Execute the chapters whose source, package or profile changed, as many at once as cores."""
    todo = {}
    # The last ones compute most: they start first, so that no core waits for one at the end.
    for chapter in reversed(chapters()):
        key = fingerprint(chapter, profile)
        target = folder / f"{chapter.stem}.ipynb"
        if (
            not target.exists()
            or json.loads(target.read_text(encoding="utf-8"))["metadata"].get("key") != key
        ):
            todo[chapter] = (target, key)
    if len(todo) < len(chapters()):
        print(f"{len(chapters()) - len(todo)} chapters unchanged", flush=True)
    with contextlib.chdir(BOOK), ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(execute, chapter, *todo[chapter], profile) for chapter in todo]
        for done, (_, report) in enumerate(results(jobs, pool), 1):
            print(f"[{done}/{len(jobs)}] {report}", flush=True)


def execute(chapter: Path, target: Path, key: str, profile: str) -> str:
    """Execute one chapter; return its name with the seconds and the memory that it took."""
    began = time.perf_counter()
    raw, done = target.with_suffix(".raw.ipynb"), target.with_suffix(".done.ipynb")
    nbformat.write(jupytext.read(chapter), raw)
    papermill.execute_notebook(
        raw,
        done,
        {"profile": profile},
        kernel_name="python3",
        progress_bar=False,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        # Nothing is left to tidy up, and a kernel that is asked to stop takes a second for it.
        shutdown_kernel="immediate",
        kernel_manager_class=kernels.MANAGER,
    )
    notebook = nbformat.read(done, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"].append("remove-cell")
    notebook.metadata.pop("papermill", None)
    notebook.metadata["key"] = key
    nbformat.write(notebook, done)
    done.replace(target)
    raw.unlink()
    return f"{chapter.stem}: {time.perf_counter() - began:.1f} s{kernels.peak_memory()}"


def fingerprint(chapter: Path, profile: str) -> str:
    """Digest of everything that an executed chapter depends on."""
    digest = hashlib.sha256(profile.encode() + chapter.read_bytes())
    for pattern in INPUTS:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def render(source: Path, out: Path) -> None:
    """Render the staged book; exit with the end of the log if there is any warning."""
    log = out / "render.log"
    command = ["build", str(source), "--path-output", str(out), "-W", "-n", "--keep-going"]
    # Forked like the kernels: the reference imports the package, too.
    process = kernels.server.Process(target=jupyter_book, args=(command, log))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{log.read_text(encoding='utf-8')[-6000:]}\nrendering failed")


def jupyter_book(arguments: list[str], log: Path) -> None:
    """Run Jupyter Book's command line in this process; what it says goes to the log."""
    from jupyter_book.cli.main import main

    with log.open("w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    main(arguments)


if __name__ == "__main__":
    main()
