"""The README's code runs, and versions that stand in two places are the same."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = (ROOT / "docs" / "modules.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_readmes_code_runs(code):
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True, timeout=120)


def test_the_readme_has_code_to_run():
    assert len(BLOCKS) >= 2


def test_the_readme_shows_the_interface_as_it_is():
    import inspect

    import torch_impl

    for name in (name for name in torch_impl.__all__ if name != "fold"):
        signature = inspect.signature(getattr(torch_impl, name))
        plain = ", ".join(
            str(p.replace(annotation=inspect.Parameter.empty))
            for p in signature.parameters.values()
            if p.kind is not inspect.Parameter.KEYWORD_ONLY
        )
        options = ", ".join(
            str(p.replace(annotation=inspect.Parameter.empty)).replace("0.16666666666666666", "1/6")
            for p in signature.parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        )
        call = f"{name}({', '.join(filter(None, (plain, '*', options)))})".replace("'", '"')
        assert call in MODULES, call


def test_tools_have_one_version():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"ruff==([\d.]+)", hooks)) == {pins["ruff"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.match(r"[\w-]+", name)[0].lower().replace("-", "_") for name in project["dependencies"]}
    assert named <= {pin.lower().replace("-", "_") for pin in pins}


def test_the_versions_page_has_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ranges = [*extras["torch"], *extras["paddle"], *extras["flax"], *project["dependencies"]]
    page = (ROOT / "docs" / "versions.md").read_text().split("## What was tried")[0]
    rows = [line.strip("| ").split(" | ")[:2] for line in page.splitlines() if line.startswith("| ")][1:]
    assert rows == [name.split(">=") for name in ranges]


def test_docstrings_say_what_is_there_or_done_and_are_no_questions():
    questions = re.compile(r'"""(What|How|Where|Which|Who|When|Why) .*')
    files = [
        path for path in ROOT.rglob("*.py") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    found = {f"{path}: {match[0]}" for path in files for match in questions.finditer(path.read_text())}
    assert len(files) > 300
    assert sorted(found) == []
