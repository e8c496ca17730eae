"""Folded modules: the same function in eval mode, in fewer operations, the original untouched."""

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
import torch
from flax import nnx
from safetensors.numpy import save_file

import flax_impl
import paddle_impl
import torch_impl
from parity import get_weights, set_weights
from parity.__main__ import main
from parity.catalogue.cases import select
from parity.catalogue.inputs import draw_weights
from parity.frameworks.onnx_graph import to_onnx
from parity.reference.modules import shapes
from parity.verdict.expect import build

HOMES = {"torch": torch_impl, "paddle": paddle_impl, "flax": flax_impl}
# How many batch norms stay: a block whose attention stands in front of its last norm keeps that one.
KEPT = {
    "SE/hidden": 0,
    "CBAM/options": 0,
    "ASPP/one-rate": 0,
    "ASPP/four-rates": 0,
    "SE_ASPP/options": 0,
    "BasicBlock/projection": 0,
    "BasicBlock/identity": 0,
    "Bottleneck/conv": 1,
    "Bottleneck/dilated": 0,
    "SEResNet/conv": 1,
}


def modules(framework, model):
    if framework.NAME == "flax":
        return [module for _, module in nnx.iter_modules(model)]
    return list(model.modules() if framework.NAME == "torch" else model.sublayers(include_self=True))


def norms(framework, model):
    return sum(isinstance(module, HOMES[framework.NAME].layers.BatchNorm) for module in modules(framework, model))


@pytest.fixture
def drawn(framework, request):
    """A model of the case with its weights, in float64."""
    case = select([request.param])[0]
    model = framework.build(case.module, case.args, case.kwargs)
    weights = {key: array.astype(np.float64) for key, array in draw_weights(case, shapes(build(case)), 0).items()}
    set_weights(model, weights)
    return case, model, weights


@pytest.mark.parametrize("drawn", KEPT, indirect=True)
def test_a_folded_module_is_the_same_function_and_the_original_stays(framework, drawn):
    case, model, weights = drawn
    model.train()
    folded = HOMES[framework.NAME].fold(model)
    assert norms(framework, folded) == KEPT[case.name]
    assert model.training if framework.NAME != "flax" else norms(framework, model) == norms(framework, nnx.clone(model))
    assert all(np.array_equal(array, weights[key]) for key, array in get_weights(model).items())
    x = np.random.default_rng(0).standard_normal(case.shape)
    found = framework.forward(folded, x, train=False)
    truth = framework.forward(model, x, train=False)
    assert np.abs(found - truth).max() <= 1e-13 * np.abs(truth).max()


@pytest.mark.parametrize("drawn", ["SE_ASPP/options"], indirect=True)
def test_a_fold_lays_nothing_side_by_side_and_refuses_what_the_module_does(framework, drawn):
    _, model, _ = drawn
    folded = HOMES[framework.NAME].fold(model)
    assert type(folded).__name__ == "FoldedASPP"
    with pytest.raises(ValueError, match="with c = 5"):
        framework.forward(folded, np.ones((2, 4, 9, 8)), train=False)


def test_a_model_of_ones_own_folds_what_it_holds(framework):
    class InTorch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch_impl.SE_ASPP(4, 8, rates=(2,))

    class InPaddle(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.head = paddle_impl.SE_ASPP(4, 8, rates=(2,))

    class InFlax(nnx.Module):
        def __init__(self):
            self.head = nnx.eval_shape(lambda: flax_impl.SE_ASPP(4, 8, rates=(2,), rngs=nnx.Rngs(0)))

    model = {"torch": InTorch, "paddle": InPaddle, "flax": InFlax}[framework.NAME]()
    if framework.NAME == "flax":
        for _, node in nnx.iter_graph(model):
            if isinstance(node, nnx.Param | nnx.BatchStat):
                node.set_value(jnp.ones(node.shape))
            elif isinstance(node, nnx.RngState):
                node.set_value(jnp.zeros((), jnp.uint32))
    assert type(HOMES[framework.NAME].fold(model).head).__name__ == "FoldedASPP"
    assert type(model.head).__name__ == "SE_ASPP"


def test_a_folded_graph_has_no_norm_and_no_concatenation_of_maps(tmp_path, monkeypatch):
    case = select(["ASPP/one-rate"])[0]
    model = torch_impl.ASPP(*case.args, **case.kwargs)
    weights = draw_weights(case, shapes(build(case)), 0)
    set_weights(model, weights)
    save_file(weights, tmp_path / "w.safetensors")
    command = ["export", "--fold", str(tmp_path / "w.safetensors"), str(tmp_path / "g.onnx"), "--module", case.call]
    monkeypatch.setattr("sys.argv", ["parity", *command, "--shape", ",".join(map(str, case.shape))])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    graph = (tmp_path / "g.onnx").read_bytes()
    kinds = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    assert {"Conv", "ReduceMean"} <= kinds
    assert not {"Concat", "BatchNormalization"} & kinds
    assert "Concat" in {node.op_type for node in onnx.load_from_string(to_onnx(model, case.shape)).graph.node}
    n, c, h, w = case.shape
    x = np.random.default_rng(0).standard_normal((n + 1, c, h + 3, w + 2), np.float32)
    y = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    with torch.no_grad():
        truth = model.eval()(torch.from_numpy(x)).numpy()
    assert np.abs(y - truth).max() <= 1e-5 * np.abs(truth).max()


# Paddle's own tracing of a training program asks for a place.
@pytest.mark.filterwarnings("ignore:Tensor do not have 'place' interface:UserWarning")
@pytest.mark.parametrize("form", ["eager", "to_static", "saved"])
def test_paddles_fast_bias_is_the_frameworks(form, tmp_path):
    conv = paddle_impl.layers.conv2d(3, 4, 3, stride=2, dilation=2)
    conv.bias.set_value(paddle.arange(4, dtype="float32"))
    plain = paddle.nn.Conv2D(3, 4, 3, 2, padding=2, dilation=2)
    plain.set_state_dict(conv.state_dict())
    x = paddle.randn([2, 3, 7, 6])
    x.stop_gradient = False
    run = conv
    if form == "to_static":
        run = paddle.jit.to_static(conv.forward, full_graph=True)
    elif form == "saved":
        conv.eval()
        spec = [paddle.static.InputSpec([None, 3, None, None], "float32", "x")]
        paddle.jit.save(conv, str(tmp_path / "conv"), input_spec=spec)
        run = paddle.jit.load(str(tmp_path / "conv"))
    y, expected = run(x), plain(x)
    assert np.array_equal(y.numpy(), expected.numpy())
    if form != "saved":
        wanted = paddle.grad((expected**2).sum(), [x, plain.bias, plain.weight])
        found = paddle.grad((y**2).sum(), [x, conv.bias, conv.weight])
        for gradient, other in zip(found, wanted, strict=True):
            assert np.allclose(gradient.numpy(), other.numpy(), rtol=1e-5, atol=1e-5)


def test_paddles_bias_of_another_precision_keeps_it():
    conv = paddle_impl.layers.conv2d(1, 2, 1)
    conv.bias = paddle.create_parameter([2], "float64")
    conv.bias.set_value(paddle.full([2], 1 / 3, "float64"))
    y = conv(paddle.zeros([1, 1, 2, 2]))
    assert y.dtype == paddle.float64
    assert np.all(y.numpy() == 1 / 3)
