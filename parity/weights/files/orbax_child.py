"""The process in which TensorStore reads an Orbax checkpoint, because nothing else bounds what it decompresses.

It is run as a script, without the rest of `parity`: `orbax.py` starts it, judges what it describes, and ends it.

Usage: orbax_child.py JSON, of `path`, `memory` in bytes, `seconds`, and the most `keys` and bytes of a `description`.
It writes a line of JSON that describes the arrays, waits for a line, and writes each array: a line of JSON, its bytes.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

ARRAYS = {".zarray": "zarr", "zarr.json": "zarr3"}
# Few threads, because each takes memory for its stack and for what it allocates.
CONTEXT = {"file_io_concurrency": {"limit": 2}, "data_copy_concurrency": {"limit": 2}}


class Refused(Exception):
    """A checkpoint that is not damaged, and is not read either."""


def main(options: dict[str, Any]) -> None:
    """Describe the arrays, and write them when a line says so."""
    import tensorstore

    limit(options["memory"], options["seconds"])
    try:
        stores = open_all(tensorstore, options)
        say({"arrays": {name: describe(store) for name, store in stores.items()}})
        if not sys.stdin.readline():
            return
        for store in stores.values():
            data = store.read().result().tobytes()
            say({"bytes": len(data)})
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except Refused as error:
        say({"refused": str(error)})
    except MemoryError:
        say({"memory": True})
    except Exception as error:
        say({"damaged": f"{type(error).__name__}: {error}"[:1000]})


def limit(memory: int, seconds: float) -> None:
    """End this process where it takes more than that from now on; macOS does not heed the limit of memory."""
    status = Path("/proc/self/status")
    if status.exists():
        used = 1024 * int(status.read_text().partition("VmData:")[2].split()[0])
        resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (end, end + 1))


def open_all(tensorstore: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The arrays of the checkpoint by name, opened and not yet read."""
    context = tensorstore.Context(CONTEXT)
    # Not as one text, which would be a URL: `%41`, `#`, `?` and `|` mean something there.
    base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{options['path']}/"}}
    kvs = tensorstore.KvStore.open(base, context=context).result()
    keys = kvs.list().result()
    if len(keys) > options["keys"]:
        raise Refused(f"it must have at most {options['keys']} keys, got {len(keys)}")
    opened = {}
    for key in keys:
        name, _, file = key.decode("ascii").rpartition("/")
        if file not in ARRAYS:
            continue
        if len(kvs.read(key).result().value) > options["description"]:
            raise Refused(f"{name} must be described in {options['description']} bytes at most")
        spec = {"driver": ARRAYS[file], "kvstore": {**base, "path": f"{name}/"}}
        opened[name] = tensorstore.open(spec, open=True, read=True, context=context).result()
    return opened


def describe(store: Any) -> tuple[Any, str, Any]:
    """The shape, the dtype's name and the shape of a chunk."""
    chunk = store.chunk_layout.read_chunk.shape
    return store.shape, store.dtype.numpy_dtype.name, None if chunk is None else list(chunk)


def say(answer: dict[str, Any]) -> None:
    """One line of JSON, at once."""
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
