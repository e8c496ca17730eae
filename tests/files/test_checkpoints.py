"""Checkpoints as they lie on disks: each is read and what is left out is said, or refused with what to do."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from checkpoints import AVERAGED, CHECKPOINTS, WEIGHTS, state
from hard import assert_same, names
from typer.testing import CliRunner

import parity
from parity.cli.app import app
from parity.errors import ParityError
from parity.weights.files import shards


@pytest.mark.filterwarnings("ignore")  # of the tools that make them
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint(name: str, tmp_path: Path) -> None:
    checkpoint = CHECKPOINTS[name]
    path = checkpoint.write(tmp_path)
    if checkpoint.refused:
        with pytest.raises(parity.ParityError) as refused:
            parity.load(path, **checkpoint.options)
        assert checkpoint.refused in str(refused.value)
        return
    found = parity.load(path, **checkpoint.options)
    assert_same(found.weights, checkpoint.weights)
    assert found.wrappers == checkpoint.wrappers
    assert set(checkpoint.skipped) <= set(found.skipped)


def test_a_long_path_is_shortened_rather_than_the_line_that_its_owner_must_run(tmp_path: Path) -> None:
    folder = tmp_path / "a/folder/far/below/the/others" / ("of_a_long_name" * 5)
    folder.mkdir(parents=True)
    checkpoint = CHECKPOINTS["torch: a whole model"]
    path = checkpoint.write(folder)
    with pytest.raises(ParityError) as refused:
        parity.load(path)
    assert checkpoint.refused in str(refused.value)
    assert "weights_only=False).state_dict()" in str(refused.value)
    assert len(str(refused.value)) <= 280


def command(*arguments: object) -> tuple[int, str]:
    """The exit code, and what is printed or the error's line."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    error = isinstance(result.exception, ParityError)
    assert result.exception is None or error or isinstance(result.exception, SystemExit)
    return 2 if error else result.exit_code, str(result.exception) if error else result.output


def test_shards_are_written_and_read(tmp_path: Path) -> None:
    torch.save(state("module."), tmp_path / "x.pth")
    out = tmp_path / "out"
    code, said = command("convert", tmp_path / "x.pth", out, "--shard", "100B", "--verify")
    assert code == 0
    assert "taken out of module." in said
    assert f"verified: {len(WEIGHTS)} tensors, equal bit for bit" in said
    files = [name for name in names(out) if name != shards.INDEX]
    assert files == [f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)]
    assert len(files) > 2
    index = json.loads((out / shards.INDEX).read_text())
    for file in files:
        held = safetensors.numpy.load_file(out / file)
        assert sum(array.nbytes for array in held.values()) <= 100 or len(held) == 1
        assert all(index["weight_map"][key] == file for key in held)
    for path in (out, out / shards.INDEX):
        assert_same(parity.load(path).weights, WEIGHTS)
    assert command("convert", out, tmp_path / "back.msgpack")[0] == 0
    assert_same(parity.load(tmp_path / "back.msgpack").weights, WEIGHTS)


def test_shards_replace_only_shards(tmp_path: Path) -> None:
    out = tmp_path / "out"
    parity.save(WEIGHTS, out, framework="paddle", metadata={"a": "b"}, shard="1KB")
    with pytest.raises(ParityError, match="exists; give --force"):
        parity.save(WEIGHTS, out, shard="1KB")
    parity.save(AVERAGED, out, framework="flax", metadata={"a": "b"}, shard="1GiB", force=True)
    assert names(out) == ["model-00001-of-00001.safetensors", shards.INDEX]
    found = parity.load(out)
    assert (found.framework, found.metadata) == ("flax", {"a": "b"})
    assert_same(found.weights, AVERAGED)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ParityError, match=r"'mine\.txt', which is no shard"):
        parity.save(WEIGHTS, out, shard="1KB", force=True)
    (out / "mine.txt").unlink()
    spoilt = {
        "not of one checkpoint": (out / "model-00002-of-00002.safetensors").touch,
        "no JSON": lambda: (out / shards.INDEX).write_text("{"),
        "without their index": (out / shards.INDEX).unlink,
    }
    for message, spoil in spoilt.items():
        spoil()
        kept = names(out)
        with pytest.raises(ParityError, match=message):
            parity.save(WEIGHTS, out, shard="1KB", force=True)
        assert names(out) == kept
    for size, target, message in (("2XB", "new", "must be such as 2GB"), ("2GB", "x.pth", "the target is a directory")):
        with pytest.raises(ParityError, match=message):
            parity.save(WEIGHTS, tmp_path / target, shard=size)
    assert names(tmp_path) == ["out"]


def test_an_index_and_its_files_must_agree(tmp_path: Path) -> None:
    parity.save(WEIGHTS, tmp_path / "x", shard="1GB")
    index = tmp_path / "x" / shards.INDEX
    text = index.read_text()
    index.write_text(text.replace("fc.bias", "fc.more"))
    with pytest.raises(ParityError, match=r"has fc\.more in model-00001-of-00001\.safetensors, which does not hold it"):
        parity.load(index)
    mapped = {key: name for key, name in json.loads(text)["weight_map"].items() if key != "fc.bias"}
    index.write_text(json.dumps({"weight_map": mapped}))
    assert parity.load(index).skipped == ("fc.bias",)


def test_the_commands_take_a_branch(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"model": state("module."), "model_ema": state(weights=AVERAGED), "epoch": 3}, path)
    code, said = command("inspect", path, "--key", "model_ema")
    assert (code, "taken out of model_ema" in said, "also there: model, epoch" in said) == (0, True, True)
    report = json.loads(command("inspect", path, "--json")[1])
    assert report["wrappers"] == ["model", "module."]
    code, said = command("convert", path, tmp_path / "ema.npz", "--key", "model_ema", "--verify")
    assert (code, "left out: model, epoch" in said) == (0, True)
    assert command("diff", path, path, "--key", "model", "--key", "model_ema")[0] == 1
    assert command("diff", path, tmp_path / "ema.npz", "--key", "model_ema", "--key", "") == (0, "equal, bit for bit\n")
    assert "--key can be given once or twice" in command("diff", path, path, *["--key", "a"] * 3)[1]


@pytest.mark.parametrize("name", ["inspect", "diff"])
def test_the_commands_are_told_of_layers(name: str, tmp_path: Path) -> None:
    weights = {"emb.weight": np.arange(12, dtype=np.float32).reshape(4, 3), "fc.weight": np.ones((2, 3), np.float32)}
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(weights, path, metadata={"format": "pd"})
    files = [path, path][: 1 + (name == "diff")]
    code, said = command(name, *files)
    assert "--layer" in said
    code, said = command(name, *files, "--layer", "emb=embedding", "--layer", "*=linear")
    assert (code, "--layer" in said) == (0, False)
    if name == "inspect":
        shapes = {each["name"]: each["shape"] for each in json.loads(command(name, "--json", path, "--layer", "emb=embedding",
                  "--layer", "*=linear")[1])["tensors"]}  # fmt: skip
        assert shapes == {"emb.weight": [4, 3], "fc.weight": [3, 2]}
