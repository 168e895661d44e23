"""What a release is made of: wheel, sdist, changelog, workflows."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from sysconfig import get_path

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("release")
ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
WORKFLOWS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
PACKAGE = {str(path.relative_to(ROOT)) for path in (ROOT / "mcu_lite").rglob("*.*")}
PACKAGE -= {name for name in PACKAGE if "__pycache__" in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wheel.name == f"mcu_lite-{VERSION}-py3-none-any.whl"
    assert {"mcu_lite/book/atlas.js", "mcu_lite/book/measured/real-size.csv"} <= PACKAGE <= names
    rest = {name.partition("/")[0] for name in names - PACKAGE}
    assert rest == {f"mcu_lite-{VERSION}.dist-info"}


def test_the_sdist_holds_the_sources_and_nothing_built(built):
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*PACKAGE, "README.md", "LICENSE", "CHANGELOG.md", "book/index.md"} <= names
    assert not [n for n in names if re.match(r"_build|node_modules|book/vendor|\.venv", n)]
    assert not [n for n in names if n.endswith(".ipynb")]


def test_the_wheel_installs_and_works(built, tmp_path):
    """In an environment that finds the dependencies installed here, but not this clone."""
    _, wheel = built
    run = {"check": True, "capture_output": True, "text": True, "cwd": tmp_path}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "new"], **run)
    python = tmp_path / "new" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--no-deps", "--python", python, wheel], **run)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    new = Path(subprocess.run([python, "-c", where], **run).stdout.strip())
    # A folder on the path, not a site directory: editable installs in it stay unseen.
    (new / "dependencies.pth").write_text(get_path("purelib"), encoding="utf-8")
    code = "import mcu_lite as mcu; print(mcu.__file__, mcu.__version__, mcu.load_task('digits'))"
    shown = subprocess.run([python, "-I", "-c", code], **run).stdout
    assert shown.split()[:2] == [str(new / "mcu_lite" / "__init__.py"), VERSION]
    assert "540 retain" in shown


def test_the_version_is_written_once_and_in_the_changelog():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = [v for v in re.findall(r"^## (\S+)", changes, re.M) if v != "Unreleased"]
    assert versions[0] == VERSION
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mcu_lite").rglob("*.py"))
    assert f'"{VERSION}"' not in code


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_commands_of_workflows_are_valid(name):
    jobs = yaml.safe_load(WORKFLOWS[name])["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    for command in runs:
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)


def test_the_book_is_published_where_its_buttons_look():
    steps = yaml.safe_load(WORKFLOWS["book"])["jobs"]["publish"]["steps"]
    launch = (ROOT / "book/extensions/launch.py").read_text(encoding="utf-8")
    assert f'BRANCH = "{steps[-1]["with"]["publish_branch"]}"' in launch
