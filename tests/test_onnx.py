"""Exported graphs: ONNX Runtime computes what the modules do, at any size, with plain operations."""

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import save_file

from parity import get_weights, set_weights
from parity.__main__ import main
from parity.catalogue import cases
from parity.catalogue.inputs import draw_input, draw_weights
from parity.frameworks import load
from parity.frameworks.onnx_graph import to_onnx
from parity.reference.evaluate import build
from parity.reference.modules import shapes
from parity.verdict.expect import expect_forward
from parity.verdict.judge import judge
from parity.weights.export import parse_call

IMAGE = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
PLAIN = {"Add", "Clip", "Concat", "Constant", "Conv", "Expand", "Flatten", "Gemm", "Identity", "MatMul", "Mul", "Pad"}
PLAIN |= {"MaxPool", "ReduceMax", "ReduceMean", "Relu", "Reshape", "Sigmoid", "Slice", "Squeeze", "Unsqueeze"}
# What makes sizes out of sizes.
PLAIN |= {"Shape", "Gather", "Cast", "ConstantOfShape", "Transpose", "Equal", "Where"}
LABELS = ("default", "projection", "hard-sigmoid", "norm", "standard", "cbam", "dropout")
CASES = [case for case in cases.CASES if case.label in LABELS]


def run(graph, x):
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_graph_computes_what_the_module_does(case):
    onnx_runtime = load("onnx")
    model = onnx_runtime.build(case.module, case.args, case.kwargs)
    weights = draw_weights(case, shapes(build(case)), 0)
    set_weights(model, weights)
    n, c, h, w = case.shape
    graph = to_onnx(model, case.shape)
    assert {node.op_type for node in onnx.load_from_string(graph).graph.node} <= PLAIN
    for shape in (case.shape, (n + 1, c, h + 8, w + 5)):
        x = np.random.default_rng(1).standard_normal(shape, np.float32)
        truth = expect_forward(case, weights, x, "float32", train=False)
        verdict = judge({"output": run(graph, x)}, {"output": truth.arrays["output"]}, "float32", truth.noise)
        assert verdict.passed, verdict.why


def test_every_module_is_exported():
    assert {case.module for case in CASES} == {case.module for case in cases.CASES}


def test_a_column_has_no_train_mode_and_keeps_the_modules_own():
    onnx_runtime = load("onnx")
    case = cases.select(["SE/default"])[0]
    model = onnx_runtime.build(case.module, case.args, case.kwargs).train()
    with pytest.raises(ValueError, match="no train mode"):
        onnx_runtime.forward(model, draw_input(case, IMAGE, 0), train=True)
    to_onnx(model, case.shape)
    assert model.training


@pytest.mark.parametrize("source", ["paddle", "flax"])
def test_weights_of_another_framework_are_exported(source, tmp_path, monkeypatch):
    framework = load(source)
    case = cases.select(["SE_ASPP/options"])[0]
    model = framework.build(case.module, case.args, case.kwargs)
    set_weights(model, draw_weights(case, shapes(build(case)), 0))
    save_file(get_weights(model), tmp_path / "w.safetensors")
    command = ["export", str(tmp_path / "w.safetensors"), str(tmp_path / "g.onnx")]
    monkeypatch.setattr("sys.argv", ["parity", *command, "--module", case.call, "--shape", "2,5,13,17"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    x = draw_input(case, IMAGE, 0)
    difference = np.abs(run((tmp_path / "g.onnx").read_bytes(), x) - framework.forward(model, x, train=False)).max()
    assert difference < 1e-5


BAD_COMMANDS = [
    (
        ["missing.safetensors", "g.onnx", "--module", "SE(8, hidden=2)"],
        "missing.safetensors",
    ),
    (
        ["w.safetensors", "g.onnx", "--module", "SE(8, hidden=2)", "--shape", "1,2"],
        "--shape must be four positive integers",
    ),
    (["w.safetensors", "g.onnx", "--module", "SE 8"], "a module must be written as SEResNet(18, num_classes=10)"),
    (["w.safetensors", "g.onnx", "--module", "open('x')"], "the module must be one of SE, ChannelAttention"),
    (["w.safetensors", "g.onnx", "--module", "SEResNet(19)"], "depth must be one of 18, 34, 50, 101, 152, got 19"),
    (["w.safetensors", "g.onnx", "--module", "SE(8, hidden=2)"], "weights do not fit SE: missing fc1.bias, fc2.weight"),
    (["w.safetensors", "no/g.onnx", "--module", "SE(8, hidden=2)"], "cannot be written"),
]


@pytest.mark.parametrize(("command", "words"), BAD_COMMANDS, ids=lambda value: str(value)[-40:])
def test_a_bad_command_is_one_line(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_file({"fc1.weight": np.ones((2, 8, 1, 1), np.float32)}, tmp_path / "w.safetensors")
    monkeypatch.setattr("sys.argv", ["parity", "export", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "g.onnx").exists()


def test_a_call_is_read_as_it_is_listed():
    for case in cases.CASES:
        assert parse_call(case.call) == (case.module, case.args, dict(case.kwargs))


def test_the_sigmoid_of_a_nearly_shut_gate_is_onnx_runtimes_own():
    """Right to 1e-7 of 1 and not of itself (onnxruntime#22557): the README says so as long as this holds."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "sigmoid", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    found = run(model.SerializeToString(), np.array([-5, -18], np.float32)).astype(np.float64)
    exact = 1 / (1 + np.exp([5.0, 18.0]))
    assert np.all(np.abs(found - exact) < 1e-7)
    assert np.any(np.abs(found - exact) > 10 * 2.0**-24 * exact)
