"""The process that runs one framework: `python -m parity.workers.worker CHANNEL FRAMEWORK FOLDER`.

It tells its parent over the socket CHANNEL, as `parity.protocol` has it, what it runs on, which task failed and which
work item is finished. Its standard output and error are a log that nobody reads unless it fails.
"""

import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import ParityError
from ..protocol import Message, Refused, encode

# What a worker needs besides its framework, by the name that it is imported by.
NEEDS = ("numpy", "safetensors")


def main(descriptor: int, name: str, folder: Path) -> None:
    """Work through the folder's job in the framework `name`; where that cannot be, say why."""
    channel = socket.socket(fileno=descriptor)
    # What the framework starts in turn has no part in it.
    channel.set_inheritable(False)
    threading.Thread(target=_watch, args=(channel, folder), daemon=True).start()
    lock = threading.Lock()

    def say(message: Message) -> None:
        with lock:
            channel.sendall(encode(message))

    try:
        _import_and_work(name, folder, say)
    except ParityError as error:
        say(Refused(str(error)))


def _import_and_work(name: str, folder: Path, say: Callable[[Message], object]) -> None:
    try:
        from .work import work
    except ModuleNotFoundError as error:
        if error.name not in NEEDS:
            raise
        raise ParityError(
            f"{error.name}, which a worker needs, is not installed for {sys.executable}; "
            f"`{sys.executable} -m pip install {' '.join(NEEDS)}` adds it"
        ) from None
    work(name, folder, say)


def _watch(channel: socket.socket, folder: Path) -> None:
    """Wait for the parent's end, which comes even when it is killed; then leave nothing."""
    with suppress(ConnectionError):
        channel.recv(1)
    # The other workers write there until they notice it too.
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
