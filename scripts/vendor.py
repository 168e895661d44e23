"""Build the pages' JavaScript from node_modules into book/vendor, and no more than they need."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ROOT / "node_modules"
VENDOR = ROOT / "book" / "vendor"
STYLE = MODULES / "bundled.css"


def bundle(source: str, target: Path, *options: str) -> None:
    """Put a script, or a style sheet, and all that it imports into one file."""
    command = [MODULES / ".bin" / "esbuild", f"scripts/{source}", "--bundle", "--minify"]
    command += ["--log-level=warning", "--legal-comments=none", f"--outfile={target}", *options]
    subprocess.run(command, cwd=ROOT, check=True)


shutil.rmtree(VENDOR, ignore_errors=True)
bundle("embed.css", STYLE)
options = "--loader:.css=text", f"--alias:bundled.css={STYLE}", "--target=es2020"
bundle("embed.js", VENDOR / "embed.js", *options)
(VENDOR / "katex" / "fonts").mkdir(parents=True)
for path in (MODULES / "katex" / "dist").glob("fonts/*.woff2"):
    shutil.copy(path, VENDOR / "katex" / "fonts")
shutil.copy(MODULES / "katex" / "dist" / "katex.min.css", VENDOR / "katex")
