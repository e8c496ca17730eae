"""The process of one side: `python -m parity.port.worker FOLDER NAME FACTORY`.

It builds the model, says what it is, and then answers one question for each line on its standard input: a JSON object
with "ask", a method of `side.Side`, and its arguments. Arrays go through files of safetensors in the folder.
"""

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from ..errors import ParityError
from .load import build, load_factory
from .opening import open_model
from .side import Side


def main(folder: Path, name: str, factory: str) -> None:
    """Build the side's model and answer until the input ends."""
    say = _take_standard_output()
    try:
        made = load_factory(factory)
        side = open_model(lambda: build(made, factory))
    except ParityError as error:
        say({"refused": str(error)})
        return
    side.framework.set_numerics_flags(allow_tf32=False)
    side.framework.select("cpu")
    say({"answer": {**side.describe(), "versions": {**side.framework.versions(), "python": sys.version.split()[0]}}})
    for number, line in enumerate(sys.stdin):
        question = json.loads(line)
        try:
            say({"answer": _answer(side, folder / f"{name}-{number}", question)})
        except ParityError as error:
            say({"refused": str(error)})
        except Exception as error:
            traceback.print_exc()
            say({"failed": f"{type(error).__name__}: {error}"})


def _answer(side: Side, file: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Answer with what the side's method gives; its arrays are in a file."""
    arguments = question["arguments"]
    for key, path in question["files"].items():
        arguments[key] = load_file(path)
    if "inputs" in arguments and isinstance(arguments["inputs"], dict):
        arguments["inputs"] = [arguments["inputs"][str(i)] for i in range(len(arguments["inputs"]))]
    found = getattr(side, question["ask"])(**arguments)
    arrays, facts = found if isinstance(found, tuple) else (found or {}, {})
    save_file(arrays, file)
    return {"file": str(file), "facts": facts}


def _take_standard_output() -> Callable[[dict[str, Any]], None]:
    """Keep standard output for messages: whatever a factory prints goes to the log."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def say(message: dict[str, Any]) -> None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()

    return say


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
