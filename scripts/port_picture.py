"""Make docs/port.png: the page of the port of docs/port.md, in Chromium.

    python scripts/port_picture.py

It takes the network and its wrong port from the tutorial, runs `parity port --html` on them, and needs what
`make test-browser` installs and a Chromium on the path, or in the variable PARITY_CHROMIUM.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).absolute().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from chromium import find_chromium  # noqa: E402

TARGET = ROOT / "docs" / "port.png"
SIZE = {"width": 1280, "height": 1000}


def main() -> None:
    """Write the picture."""
    page = (ROOT / "docs" / "port.md").read_text()
    command = re.search(r"^parity (port .*)$", page, re.MULTILINE)
    assert command is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in re.findall(r"^```py\n# (\w+\.py)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
            (folder / file).write_text(f"# {file}\n{text}")
        subprocess.run(
            [sys.executable, "-m", "parity", *command[1].split(), "--check", "eval", "--html", "report.html"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
            opened = browser.new_page(viewport=SIZE)
            opened.goto((folder / "report.html").as_uri())
            opened.screenshot(path=folder / "page.png")
            browser.close()
        with Image.open(folder / "page.png") as picture:
            picture.convert("RGB").save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
