"""The wheel and the source distribution: what is in them, and what they bring along."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("torch_impl", "paddle_impl", "flax_impl", "parity")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def test_the_wheel_holds_the_packages_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    tracked = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in {".py", ".toml", ".typed", ".html", ".css", ".js", ".j2"}
    }
    assert tracked <= names
    assert "parity/constraints.txt" in names
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, "attention_parity-0.1.0.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_an_extra_brings_its_own_framework_alone(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        metadata = wheel.read("attention_parity-0.1.0.dist-info/METADATA").decode()
    needed: dict[str, set[str]] = {}
    for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE):
        extra = re.search(r"extra == '(\w+)'", line)
        needed.setdefault(extra[1] if extra else "", set()).add(re.match(r"[\w-]+", line)[0])
    frameworks = {"torch", "paddlepaddle", "jax", "flax"}
    assert needed[""] & frameworks == set()
    assert needed["torch"] & frameworks == {"torch"}
    assert needed["paddle"] & frameworks == {"paddlepaddle"}
    assert needed["flax"] & frameworks == {"jax", "flax"}
    assert needed["all"] & frameworks == frameworks


def test_the_source_distribution_builds_the_same_wheel(built, tmp_path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        names = [name.partition("/")[2] for name in source.getnames()]
        source.extractall(tmp_path, filter="data")
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "tests/conftest.py"} <= set(names)
    assert not [name for name in names if name.startswith((".venv", "dist", ".git/"))]
    folder = next(tmp_path.iterdir())
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "again"], cwd=folder, check=True)
    first, second = next(built.glob("*.whl")), next((folder / "again").glob("*.whl"))
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}
