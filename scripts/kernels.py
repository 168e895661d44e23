"""Kernels forked from one process that has imported what every chapter imports.

A chapter starts in half a second instead of four.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from multiprocessing import forkserver, get_context, parent_process
from pathlib import Path
from types import SimpleNamespace

from jupyter_client.manager import AsyncKernelManager
from tqdm import tqdm

NEEDED = ["ipykernel.kernelapp", "matplotlib.pyplot", "sklearn.metrics"]
NEEDED += ["mcu_lite.book.paper_claims"]  # and with it nearly all of the package
NEEDED += ["jupytext", "papermill"]  # by the build itself, which every fork imports again
# Elsewhere it is not safe to fork with libraries loaded.
FORKS = sys.platform == "linux"
server = get_context("forkserver" if FORKS else "spawn")
of_thread = threading.local()


def prepare() -> None:
    """Start the process to fork from; it imports what is needed while others go on."""
    # Matplotlib reads this when it is imported, which is before a kernel would set it.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    if FORKS:
        server.set_forkserver_preload(NEEDED)
        forkserver.ensure_running()


def peak_memory() -> str:
    """Say how much memory the last kernel of this thread took, where that is known."""
    return f", {of_thread.peak_kb // 1024} MB at most" if hasattr(of_thread, "peak_kb") else ""


class ForkedKernel(AsyncKernelManager):
    """Starts a kernel by a fork instead of a new interpreter."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw) -> None:
        arguments = kernel_cmd[kernel_cmd.index("-f") :]
        process = server.Process(target=_serve, args=(arguments, os.getcwd(), kw["env"]))
        process.start()
        self.provisioner.pid = process.pid
        # As much of `subprocess.Popen` as a provisioner needs.
        self.provisioner.process = SimpleNamespace(
            poll=lambda: process.exitcode,
            wait=process.join,
            send_signal=lambda signum: os.kill(process.pid, signum),
            kill=process.kill,
            stdin=None,
            stdout=None,
            stderr=None,
        )

    async def _async_kill_kernel(self, restart: bool = False) -> None:
        status = Path(f"/proc/{self.provisioner.pid}/status").read_text(encoding="utf-8")
        of_thread.peak_kb = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
        await super()._async_kill_kernel(restart)


MANAGER = ForkedKernel if FORKS else AsyncKernelManager


def _serve(arguments: list[str], folder: str, env: dict[str, str]) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.chdir(folder)
    os.environ.update(env)
    sys.path.insert(0, "")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # By default this is a semaphore, which a kernel that is killed cannot return.
    tqdm.set_lock(threading.RLock())
    # Its parent is the process to fork from, which outlives it: nothing to watch.
    IPKernelApp.launch_instance([*arguments, "--IPKernelApp.parent_handle=1"])


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)
