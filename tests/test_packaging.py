"""pyproject.toml, constraints.txt, environment.yml and package.json say the same."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mcu_lite as mcu

ROOT = Path(__file__).resolve().parents[1]
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


def test_every_dependency_says_why_it_is_there():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if re.match(r'\s*"[\w.-]+[<>=]', line)]
    assert len(listed) == len(WANTED)
    assert all("#" in line for line in listed)


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


def test_javascript_is_pinned_exactly():
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    pins = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pin) for pin in pins.values())


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


def test_all_public_names_exist_and_are_documented():
    reference = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    for name in mcu.__all__:
        item = getattr(mcu, name)
        if callable(item):
            assert item.__doc__, name
            assert re.search(rf"\b{name}\b", reference), f"{name} is not on the API page"
