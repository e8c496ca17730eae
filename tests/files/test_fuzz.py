"""Whatever a file holds, only ParityError leaves the readers; `fuzz.py` does the same for as long as one likes."""

import contextlib
import random
from pathlib import Path

import pytest
from fuzz import SUFFIXES, damage, damage_directory, good_directories, good_files, read, read_directory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.errors import ParityError
from parity.weights.files.budget import Budget
from parity.weights.files.orbax import read as read_orbax
from parity.weights.files.pickled import NUMPY
from parity.weights.files.unpickle import Window, unpickle

settings.register_profile("files", deadline=None, suppress_health_check=list(HealthCheck))
FILES = settings(settings.get_profile("files"), max_examples=200)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return good_files(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files(suffix: str, seeds: dict[str, list[bytes]], tmp_path: Path) -> None:
    choose = random.Random(0)
    for _ in range(400):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(damage(choose.choice(seeds[suffix]), seeds[suffix], choose))
        read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_files(suffix: str, seeds: dict[str, list[bytes]], tmp_path: Path) -> None:
    good = seeds[suffix][0]
    for length in range(0, len(good), max(1, len(good) // 60)):
        (tmp_path / f"x{suffix}").write_bytes(good[:length])
        read(tmp_path / f"x{suffix}")


@given(data=st.binary(max_size=400), suffix=st.sampled_from([*SUFFIXES, ".bin"]))
@FILES
def test_any_bytes(data: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    read(path)


OPCODES = [
    bytes([code]) for code in b"().0123DIJKLMNPQRSTUVXabcdeghijlopqrstu}]\x80\x81\x85\x86\x87\x88\x89\x8c\x93\x94\x95"
]
PIECES = [
    *OPCODES,
    b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"ccollections\nOrderedDict\n",
    b"cos\nsystem\n",
    b"X\2\0\0\0f4",
    b"C\4abcd",
    b"K\1",
    b"q\0",
    b"h\0",
]


@given(program=st.lists(st.sampled_from(PIECES), max_size=30))
@FILES
def test_any_pickle(program: list[bytes]) -> None:
    with contextlib.suppress(ParityError):
        unpickle(Window(b"".join(program) + b".", Budget(len(program))), NUMPY)


def test_damaged_directories(tmp_path: Path) -> None:
    directories = good_directories(tmp_path)
    for good in directories:
        assert read_orbax(good).arrays
    choose = random.Random(0)
    for i in range(16):
        damage_directory(directories[i % 2], tmp_path / "x.orbax", choose)
        read_directory(tmp_path / "x.orbax")
