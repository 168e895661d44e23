"""Chapters run in forked kernels: they must do what a kernel of its own would, and not outlive."""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

SCRIPTS = Path(__file__).parents[2] / "scripts"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
CELLS = [
    "import os, sys; print(end=os.getcwd()); sys.stdout.flush(); print()",
    "import matplotlib.pyplot as plt; plt.plot([1, 2]);",
    "import ipywidgets; ipywidgets.IntSlider(3)",
    "import torch; torch.rand(2).tolist(), torch.get_num_threads()",
    "__name__",
]
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import kernels, papermill
options = {"kernel_name": "python3", "shutdown_kernel": "immediate", "progress_bar": False}
options["coalesce_streams"] = True  # a kernel may send one print in two pieces
if sys.argv[2] == "forked":
    kernels.prepare()
    options["kernel_manager_class"] = kernels.MANAGER
papermill.execute_notebook("in.ipynb", sys.argv[2] + ".ipynb", **options)
print(kernels.peak_memory())
"""


def run(folder, cells, kind, **options):
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / "in.ipynb")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(SCRIPTS), kind]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )


def outputs(folder, kind):
    """What each cell printed or returned, by type; widgets by their kind alone."""
    notebook = nbformat.read(folder / f"{kind}.ipynb", as_version=4)
    found = [output for cell in notebook.cells for output in cell.outputs]
    return [sorted(o.data) if o.get("data") else o.text for o in found], found


def test_a_forked_kernel_does_what_an_ordinary_one_does(tmp_path):
    said = {}
    for kind in ("forked", "ordinary"):
        process = run(tmp_path, CELLS, kind)
        said[kind] = process.communicate(timeout=120)[0].decode()
        assert process.returncode == 0, said[kind]
    (kinds, forked), (expected, ordinary) = (outputs(tmp_path, k) for k in ("forked", "ordinary"))
    assert kinds == expected and kinds[0].strip() == str(tmp_path)
    assert forked[1].data["image/png"] == ordinary[1].data["image/png"]
    assert "application/vnd.jupyter.widget-view+json" in kinds[2]
    assert forked[4].data == ordinary[4].data == {"text/plain": "'__main__'"}
    assert forked[3].data["text/plain"].endswith(", 1)")
    peak = float(said["forked"].split(",")[-1].split(" MB")[0])
    assert 100 < peak < 2000 and "MB" not in said["ordinary"]


def test_a_kernel_that_is_killed_is_said_to_have_died(tmp_path):
    process = run(tmp_path, ["import os; os.kill(os.getpid(), 9)"], "forked")
    said = process.communicate(timeout=120)[0].decode()
    assert said.strip().endswith("DeadKernelError: Kernel died")


def test_a_kernel_ends_with_the_build(tmp_path):
    cells = ["import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid()))"]
    process = run(tmp_path, [*cells, "time.sleep(100)"], "forked")
    pid = int(
        wait_for(
            lambda: next((f.read_text(encoding="utf-8") for f in tmp_path.glob("pid")), ""), 60
        )
    )
    assert alive(pid)
    process.kill()
    wait_for(lambda: not alive(pid), 10)


def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"nothing after {seconds} s"
        time.sleep(0.1)
    return found


def alive(pid):
    """Whether a process runs; one that nobody has asked about since its end does not."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
            != "Z"
        )
    except FileNotFoundError:
        return False
