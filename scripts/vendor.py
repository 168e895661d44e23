"""Copy the pages' JavaScript from node_modules into book/vendor, and nothing more than it needs."""

import hashlib
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "book" / "vendor"
MANAGER = ROOT / "node_modules" / "@jupyter-widgets" / "html-manager" / "dist"
MATHJAX = ROOT / "node_modules" / "mathjax" / "es5"
FONTS = "output/chtml/fonts/woff-v2"
SHA256 = {
    MANAGER / "embed.js": "8f6d2d3f856d8595d1841dec3019d99bbe74d331f2a5178c2a33bfec729e3d6a",
    MATHJAX
    / "tex-mml-chtml.js": "300480069078b5892d2363a2b65e2dfbbf30fe5c80f83edbfecf4610fd093862",
}

for path, expected in SHA256.items():
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        sys.exit(f"{path.relative_to(ROOT)} is not the file that package.json pins")
(VENDOR / "mathjax").mkdir(parents=True, exist_ok=True)
for path in (MANAGER / "embed.js", *MANAGER.glob("*.woff2")):
    shutil.copy(path, VENDOR)
shutil.copy(MATHJAX / "tex-mml-chtml.js", VENDOR / "mathjax")
shutil.copytree(MATHJAX / FONTS, VENDOR / "mathjax" / FONTS, dirs_exist_ok=True)
