"""The language of rules: what a line means, that it reads from right to left too, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from parity import ParityError
from parity.cli import convert as convert_command
from parity.cli.app import app
from parity.frameworks.patterns import rearrange
from parity.weights.dialects import apply, match, parse
from parity.weights.dialects.rules import bind, fill
from parity.weights.files.contents import outgoing

HEAD = 'framework = "torch"\n'


def bits(arrays):
    return {key: (array.dtype, array.shape, np.ascontiguousarray(array).tobytes()) for key, array in arrays.items()}


@st.composite
def patterns(draw):
    """An array's shape, its axes in any brackets and directions, and the same axes in another order and brackets."""
    sizes = {name: draw(st.integers(1, 4)) for name in "abcd"[: draw(st.integers(1, 4))]}

    def side():
        names = [draw(st.sampled_from(["", "~"])) + name for name in draw(st.permutations(list(sizes)))]
        cut = draw(st.integers(0, len(names)))
        grouped = [f"({' '.join(names[:cut])})"] if cut else []
        return " ".join(draw(st.permutations([*grouped, *names[cut:], *["1"] * draw(st.integers(0, 1))])))

    source, target = side(), side()
    shape = rearrange(np.zeros(list(sizes.values())), " ".join(sizes), source).shape
    return source, target, sizes, shape


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(patterns())
def test_a_pattern_is_undone_by_its_inverse(drawn):
    source, target, sizes, shape = drawn
    array = np.arange(np.prod(shape)).reshape(shape)
    there = rearrange(array, source, target, sizes)
    assert sorted(there.ravel()) == sorted(array.ravel())
    assert np.array_equal(rearrange(there, target, source, sizes), array)


@pytest.mark.parametrize("h", [1, 3])
def test_axes_are_where_the_pattern_puts_them(h):
    array = np.random.default_rng(0).standard_normal((3 * h * 2, 5))
    split = rearrange(array, "(3 h d) i", "3 i h d", {"h": h})
    assert split.shape == (3, 5, h, 2)
    assert split[2, 4, h - 1, 1] == array[(2 * h + h - 1) * 2 + 1, 4]
    assert np.array_equal(rearrange(array, "o i", "~o i"), array[::-1])


RULES = {
    "layers and numbers": ('"blocks.{b}.norm{j}" = "layer.{b}.ln{j+1}"', {"blocks.0.norm1.weight": (3,), "blocks.11.norm0.bias": (3,)}, {"layer.0.ln2.weight", "layer.11.ln1.bias"}),
    "an array": ('"cls_token" = "class_token"', {"cls_token": (1, 1, 3)}, {"class_token"}),
    "anything": ('"encoder.*" = "model.encoder.*"', {"encoder.a.b.weight": (2, 3)}, {"model.encoder.a.b.weight"}),
    "a split": ('"attn.in_proj_weight" = "attn.{query,key,value}.kernel : (3 h d) i -> 3 i h d, h=2"', {"attn.in_proj_weight": (12, 4)}, {"attn.query.kernel", "attn.key.kernel", "attn.value.kernel"}),
    "a concatenation": ('"{q, k, v}.weight" = "qkv.weight : 3 o i -> (3 o) i"', {"q.weight": (4, 5), "k.weight": (4, 5), "v.weight": (4, 5)}, {"qkv.weight"}),
    "a split of many": ('"b.{k}.qkv.weight" = "l.{k}.{query,key,value}.weight : (3 o) i -> 3 o i"', {"b.0.qkv.weight": (6, 2), "b.1.qkv.weight": (6, 2)}, {f"l.{k}.{n}.weight" for k in (0, 1) for n in ("query", "key", "value")}),
    "pairs": ('"a.{x,y}" = "b.{u,v}"', {"a.x.weight": (1, 2, 3), "a.y.bias": (3,)}, {"b.u.weight", "b.v.bias"}),
    "stages": ('"blocks.{b}.conv" = "layer1.{b<2}.conv"\n"blocks.{b+2}.conv" = "layer2.{b}.conv"', {f"blocks.{b}.conv.weight": (1, 2, 1, 1) for b in range(4)}, {f"layer{s}.{b}.conv.weight" for s in (1, 2) for b in (0, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_rule_reads_both_ways(name):
    lines, shapes, expected = RULES[name]
    dialect = parse("own", f"{HEAD}[rules]\n{lines}\n")
    rng = np.random.default_rng(0)
    weights = {key: rng.standard_normal(shape) for key, shape in shapes.items()}
    there = match(weights, dialect, "rules")
    assert there.complete, there
    moved = apply(there, weights)
    assert moved.keys() == expected
    back = match(moved, dialect, "rules", outward=True)
    assert back.complete, back
    assert bits(apply(back, moved)) == bits(weights)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"a" = "b odd"', "unknown words odd"),
        ('"a.{b}" = "c"', "must be on both sides"),
        ('"a.*" = "c"', "must be on both sides"),
        ('"qkv" = "{q,k,v}"', "1 names become 3: say how their axes lie"),
        ('"a" = "b : o i -> o"', "i must be on both sides"),
        ('"a" = "b : o i"', "axes must be written as"),
        ('"a" = "b : o o -> o o"', "named once each"),
        ('"a" = "b : (o i -> o i"', "brackets closed"),
        ('"a" = "{b,c} : (2 o) -> o 2"', "the axes of 2 names must begin with 2"),
        ('"a" = "b : (h d) -> h d, h=x"', "a size must be written as h=8"),
    ],
)
def test_what_is_no_rule_is_refused(line, words):
    with pytest.raises(ParityError) as error:
        parse("own", f"{HEAD}[rules]\n{line}\n")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("side", "text", "bound"),
    [
        ("a.{b}.c", "a.12.c", {"b": "12"}),
        ("a.{b+3}", "a.4", {"b": "1"}),
        ("a.{b+3}", "a.2", None),
        ("a.{b<2}", "a.2", None),
        ("{b}.{b}", "1.2", None),
        ("a.*.c", "a.x.y.c", {"*0": "x.y"}),
        ("a+b.c", "aab.c", None),
    ],
)
def test_placeholders(side, text, bound):
    assert bind(side, text) == bound
    if bound is not None:
        assert fill(side, bound) == text


VIT = """
framework = "torch"
to = "flax"
rest = "keep"

[layers]
"tok" = "embedding"

[rules]
"blocks.{b}.attn.qkv.weight" = "layers.{b}.attn.{query,key,value}.kernel : (3 h d) i -> 3 i h d, h=2"
"blocks.{b}.attn.qkv.bias" = "layers.{b}.attn.{query,key,value}.bias : (3 h d) -> 3 h d, h=2"
"blocks.{b}.attn.proj.weight" = "layers.{b}.attn.out.kernel : o (h d) -> h d o, h=2"
"blocks.{b}.attn.proj.bias" = "layers.{b}.attn.out.bias : o -> o"
"blocks.{b}.norm1" = "layers.{b}.ln1"
"""


def vit_weights(width=4):
    rng = np.random.default_rng(0)
    shapes = {"tok.weight": (5, width), "pos_embed": (1, 3, width), "head.weight": (2, width), "head.bias": (2,)}
    for b in range(2):
        shapes |= {
            f"blocks.{b}.norm1.weight": (width,),
            f"blocks.{b}.norm1.bias": (width,),
            f"blocks.{b}.attn.qkv.weight": (3 * width, width),
            f"blocks.{b}.attn.qkv.bias": (3 * width,),
            f"blocks.{b}.attn.proj.weight": (width, width),
            f"blocks.{b}.attn.proj.bias": (width,),
        }
    return {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=False)


def test_a_file_of_rules_for_another_framework_goes_there_and_back(tmp_path):
    (tmp_path / "vit.toml").write_text(VIT)
    save_file(vit_weights(), tmp_path / "a.safetensors", {"format": "pt"})
    arguments = ("--dialect", tmp_path / "vit.toml")
    assert run(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--to", "flax", *arguments).exit_code == 0
    there = load_file(tmp_path / "b.safetensors")
    assert there["layers.1.attn.key.kernel"].shape == (4, 2, 2)
    assert there["layers.1.ln1.scale"].shape == (4,)
    assert np.array_equal(there["tok.embedding"], vit_weights()["tok.weight"])
    assert np.array_equal(there["head.kernel"], vit_weights()["head.weight"].T)
    assert run(tmp_path / "b.safetensors", tmp_path / "c.safetensors", "--to", "torch", *arguments).exit_code == 0
    assert bits(load_file(tmp_path / "c.safetensors")) == bits(vit_weights())


def test_arrays_of_no_layer_are_listed_where_the_framework_changes(tmp_path):
    arrays = {"pos_embed": np.ones((1, 3, 4)), "blocks.0.table": np.ones((9, 2)), "gamma": np.ones(4)}
    save_file(
        {**arrays, "a.weight": np.ones((2, 4)), "a.bias": np.ones(2)}, tmp_path / "a.safetensors", {"format": "pt"}
    )
    said = run(tmp_path / "a.safetensors", tmp_path / "b.msgpack").output
    assert "of no layer, moved with their axes as they are: blocks.0.table, pos_embed\n" in said
    assert "no layer" not in run(tmp_path / "a.safetensors", tmp_path / "c.pth").output
    assert (
        "no layer"
        not in run(
            tmp_path / "a.safetensors", tmp_path / "d.msgpack", "--layer", "=bare", "--layer", "blocks.0=bare"
        ).output
    )


@pytest.mark.parametrize("rules", [True, False])
def test_verify_reads_the_target_anew_and_says_so_in_one_line(rules, tmp_path):
    (tmp_path / "vit.toml").write_text(VIT)
    weights = vit_weights() | {"attn.in_proj_weight": np.ones((6, 2))} if not rules else vit_weights()
    save_file(weights, tmp_path / "a.safetensors", {"format": "pt"})
    told = (
        ("--dialect", tmp_path / "vit.toml") if rules else ("--layer", "tok=embedding", "--layer", "attn=attention h=2")
    )
    told = (*told, "--verify", "--to", "flax")
    result = run(tmp_path / "a.safetensors", tmp_path / "b.safetensors", *told)
    assert result.exit_code == 0
    assert f"verified: {len(weights)} tensors, equal bit for bit after the way back" in result.output


def test_verify_can_fail(tmp_path, monkeypatch):
    save_file({"a.weight": np.ones((2, 3)), "a.bias": np.ones(2)}, tmp_path / "a.safetensors", {"format": "pt"})
    monkeypatch.setattr(convert_command, "outgoing", lambda arrays, _: outgoing({k: a + 1 for k, a in arrays.items()}))
    result = run(tmp_path / "a.safetensors", tmp_path / "b.pdparams", "--verify")
    assert result.exit_code == 1
    assert "verified: 2 of 2 tensors differ after the way back" in result.output


def test_rules_for_another_framework_are_refused_elsewhere(tmp_path):
    (tmp_path / "vit.toml").write_text(VIT)
    save_file(vit_weights(), tmp_path / "a.safetensors", {"format": "pt"})
    with pytest.raises(ParityError, match=r"the rules of vit are for flax, not paddle; give --to flax"):
        run(tmp_path / "a.safetensors", tmp_path / "b.pdparams", "--dialect", tmp_path / "vit.toml")
