"""The commands of the documentation, as its test types them: see `tests/test_docs.py`."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

# These take minutes, install something or run what other tests run: their options are parsed.
LONG = ("run", "mutants", "calibrate", "envs", "doctor", "record", "compare", "lower", "port", "answer")
# Everything takes minutes; a case shows that the options work.
ONE = ["--case", "SE/1x1"]


def main(shim, arguments):
    name = Path(shim).name
    sys.exit({"parity": parity, "make": make, "pip": pip}.get(name, is_installed)(name, arguments))


def parity(name, arguments):
    # No GPU is here, and the compiler for those that are not there is only where `make lower` ran.
    arguments = [
        re.sub(r"\bgpu\b|h100,a100,b200", "cpu", argument) if i else argument for i, argument in enumerate(arguments)
    ]
    command = arguments[0]
    if command in LONG:
        return parses(arguments)
    if command in ("plan", "capsule"):
        arguments = [*arguments, *ONE]
    return subprocess.run([sys.executable, "-m", "parity", *arguments]).returncode


def parses(arguments):
    from typer.main import get_command

    from parity.cli.app import app

    command = get_command(app).commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])
    return 0


def make(name, arguments):
    return subprocess.run(
        [shutil.which("make", path=os.defpath), "-n", "-C", os.environ["PARITY_ROOT"], *arguments], stdout=sys.stderr
    ).returncode


def pip(name, arguments):
    """That the extras which are installed exist."""
    project = tomllib.loads((Path(os.environ["PARITY_ROOT"]) / "pyproject.toml").read_text())["project"]
    extras = {
        extra for argument in arguments for group in re.findall(r"\[(.*?)\]", argument) for extra in group.split(",")
    }
    return 0 if extras <= set(project["optional-dependencies"]) else 1


def is_installed(name, arguments):
    """That a tool is one of this project's."""
    text = (Path(os.environ["PARITY_ROOT"]) / "constraints.txt").read_text()
    return 0 if re.search(rf"^{name.replace('-', '_')}==", text, re.MULTILINE) else 1
