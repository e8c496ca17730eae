"""The Chromium of this machine."""

import os
import shutil

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def find_chromium():
    """Its path, or None: that of the variable PARITY_CHROMIUM, or of a name that systems give it."""
    return os.environ.get("PARITY_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
