"""Files that are not read here, told by their first bytes and named for what they are, with what to do."""

from collections.abc import Iterable
from pathlib import Path

_TORCH = "torch.save({}('FILE'){}, 'weights.pt') makes weights of it"
_KERAS = "numpy.savez('weights.npz', **{w.path: w.numpy() for w in model.weights}) makes weights of it"
_PUBLISHED = "it holds no weights, only where they are or why they did not come: download the file itself"
# By the first bytes: what it is and what to do.
_HEADS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "is a Git LFS pointer, a few lines instead of the weights: run git lfs pull where it was cloned",
    ),
    (b"\x89HDF\r\n\x1a\n", f"is an HDF5 file, as Keras writes: {_KERAS}"),
    (b"GGUF", "is a GGUF file, whose weights are mostly quantized: give the checkpoint that it was made from"),
    (b"\x93NUMPY", "is one NumPy array without a name: save numpy.savez('weights.npz', **{name: array})"),
    (b"\x1f\x8b", "is compressed by gzip: unpack it first (gunzip, or tar -xzf)"),
    (b"\xfd7zXZ\0", "is compressed by xz: unpack it first (unxz, or tar -xJf)"),
    (b"\x28\xb5\x2f\xfd", "is compressed by Zstandard: unpack it first (unzstd)"),
    (b"BZh", "is compressed by bzip2: unpack it first (bunzip2, or tar -xjf)"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it first"),
    (b"\x89PNG", "is a picture"),
    (b"%PDF", "is a PDF document"),
)
# By what follows the first words, in lower case.
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<error")
_MESSAGES = (b"entry not found", b"not found", b"invalid username or password", b"access to model", b"repository not")
# By the suffix, where the first bytes do not tell.
_SUFFIXES = {
    ".pdmodel": "is the program of a Paddle inference model: load both its files and save their weights, "
    "paddle.save(paddle.jit.load('model').state_dict(), 'weights.pdparams')",
    ".pdiparams": "holds the parameters of a Paddle inference model without their names: "
    "paddle.save(paddle.jit.load('model').state_dict(), 'weights.pdparams')",
    ".onnx": "is an ONNX graph: give the checkpoint that it was exported from",
    ".pb": "is a TensorFlow graph: save its variables with numpy.savez",
    ".index": "is the index of a TensorFlow checkpoint: save its variables with numpy.savez",
    ".tflite": "is a TensorFlow Lite model: give the checkpoint that it was made from",
    ".tar": "is a tar archive: unpack it first (tar -xf)",
    ".pickle": "is a pickle of protocol 0 or 1: save it again with pickle.dump(weights, file, protocol=4)",
    ".pkl": "is a pickle of protocol 0 or 1: save it again with pickle.dump(weights, file, protocol=4)",
}
_STEPS_LISTED = 4


def explain(head: bytes) -> str | None:
    """Say what a file with these first bytes is, of no format that is read, and what to do; None if unknown."""
    for magic, what in _HEADS:
        if head.startswith(magic):
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:100].lower()
    if text.startswith(_PAGES):
        return f"is a web page: {_PUBLISHED}"
    if text.startswith(_MESSAGES):
        return f"is a server's message: {_PUBLISHED}"
    if head[257:262] == b"ustar":
        return explain_suffix(Path("x.tar"))
    return None


def explain_suffix(path: Path) -> str | None:
    """The same for a file whose first bytes say nothing."""
    return _SUFFIXES.get(path.suffix)


def explain_archive(names: Iterable[str]) -> str | None:
    """The same for a zip archive with these members."""
    below = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in below) and "constants.pkl" in below:
        return f"is a TorchScript program: {_TORCH.format('torch.jit.load', '.state_dict()')}"
    if "archive_format" in below or "serialized_exported_program.json" in names:
        return f"is an exported program of PyTorch: {_TORCH.format('torch.export.load', '.state_dict')}"
    if "model.weights.h5" in names:
        return f"is a Keras file: {_KERAS}"
    return None


def explain_directory(names: set[str]) -> str | None:
    """Say what a directory of no checkpoint that is read is, and what to do; None where nobody knows."""
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        return (
            "is a distributed checkpoint of PyTorch: run python -m torch.distributed.checkpoint.format_utils "
            "dcp_to_torch DIRECTORY weights.pt and give that"
        )
    if "zero_to_fp32.py" in names:
        return "is a DeepSpeed checkpoint: where you trust its script, run python zero_to_fp32.py . weights.bin in it"
    if "saved_model.pb" in names:
        return "is a TensorFlow SavedModel: save its variables with numpy.savez('weights.npz', **{name: array})"
    steps = sorted((name for name in names if name.isascii() and name.isdecimal() and len(name) < 20), key=int)
    if steps:
        return f"holds a checkpoint for each of the steps {', '.join(steps[-_STEPS_LISTED:])}: give one of these"
    return None
