"""What is declared, pinned, written for contributors and listed in the reference is so."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mcu_lite as mcu

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "extensions"))
from used_in import home, uses  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = re.findall(
    r"^[\w.-]+==.*", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M
)
PINS = [pin for pin in map(Requirement, CONSTRAINTS) if not pin.marker or pin.marker.evaluate()]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]


@pytest.mark.parametrize("requirement", list(map(Requirement, WANTED)), ids=str)
def test_every_dependency_is_pinned_allowed_and_installed(requirement):
    (pin,) = (str(p.specifier).removeprefix("==") for p in PINS if p.name == requirement.name)
    assert requirement.specifier.contains(pin)
    assert version(requirement.name).split("+")[0] == pin


def test_the_package_imports_only_what_is_declared():
    trees = [ast.parse(p.read_bytes()) for p in (ROOT / "mcu_lite").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {n.partition(".")[0] for n in names} - {"mcu_lite", *sys.stdlib_module_names}
    own = packages_distributions()
    declared = {canonicalize_name(Requirement(r).name) for r in WANTED}
    missing = {n for n in foreign if not declared & set(map(canonicalize_name, own[n]))}
    assert "torch" in foreign and not missing


def test_the_conda_environment_installs_the_same_pins():
    python = next(d for d in ENVIRONMENT if isinstance(d, str) and d.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(
        python.removeprefix("python=")
    )
    (pip,) = (d["pip"] for d in ENVIRONMENT if isinstance(d, dict))
    assert "-c constraints.txt" in pip
    (editable,) = (line for line in pip if line.startswith("-e"))
    # All that a chapter may import; a cluster, other data sets and tests are for elsewhere.
    installed = set(re.search(r"\[(.*)\]", editable)[1].split(","))
    assert installed == set(EXTRAS) - {"cluster", "hub", "test"}


def test_the_citation_has_the_packages_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == version("mcu-lite")
    assert citation["license"] == PROJECT["license"]


def test_the_readmes_example_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert len(example.strip().splitlines()) <= 10
    names = {}
    exec(example.replace("seeds=5", "seeds=1"), names)
    assert names["table"].value.notna().all()


def test_the_examples_for_contributors_run(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    # A process of its own: they register methods, metrics and tasks.
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MCU_LITE_CACHE": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_reference_lists_what_is_public_or_used_in_a_chapter_once_where_it_is_defined():
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    entries = re.findall(r"automodule:: (\S+)\n   :members: (.+)", page)
    listed = [f"{module}.{name}" for module, names in entries for name in names.split(", ")]
    assert len(listed) == len(set(listed))
    assert not [name for name in listed if home(name) != name]
    public = {home(f"mcu_lite.{name}") for name in mcu.__all__ if callable(getattr(mcu, name))}
    assert public | set(uses(ROOT)) <= set(listed)


def test_the_reference_has_the_rooms_in_the_order_in_which_they_import_each_other():
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    rooms = list(dict.fromkeys(re.findall(r"automodule:: mcu_lite\.(\w+)\.", page)))
    assert set(rooms) == {path.parent.name for path in (ROOT / "mcu_lite").glob("*/__init__.py")}
    for k, room in enumerate(rooms):
        for path in (ROOT / "mcu_lite" / room).glob("*.py"):
            code = path.read_text(encoding="utf-8")
            seen = set(re.findall(r"^\s*(?:from|import) mcu_lite\.(\w+)", code, re.M))
            assert not seen & set(rooms[k + 1 :]), path
