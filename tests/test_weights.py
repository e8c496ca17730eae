"""Weights through NumPy: names, axes, every bit; strict, pure, and refused where the layout is not known."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import paddle
import pytest
import torch
from flax import linen, nnx

import torch_impl
from parity import ParityError, convert, get_weights, relayout, set_weights
from parity.frameworks import FRAMEWORKS
from parity.reference.modules import SE_ASPP, shapes

DTYPES = [np.dtype(name) for name in ("float16", "float32", "float64")] + [np.dtype(ml_dtypes.bfloat16)]
FLOAT32 = np.dtype(np.float32)


def random_bits(shape, dtype, seed=0):
    """Any bits at all: NaN payloads, infinities, subnormals and negative zeros among them."""
    count = int(np.prod(shape)) * dtype.itemsize
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8).view(dtype).reshape(shape)


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def example(dtype=FLOAT32):
    """Canonical weights of one layer of each kind, with all sides different."""
    shapes = {
        "stem.conv.weight": (8, 4, 3, 5),
        "stem.conv.bias": (8,),
        "stem.grouped.weight": (8, 2, 1, 3),
        "audio.weight": (6, 4, 7),
        "video.weight": (6, 4, 2, 3, 5),
        "head.weight": (5, 7),
        "head.bias": (5,),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "norm.running_mean": (8,),
        "norm.running_var": (8,),
    }
    return {key: random_bits(shape, dtype, seed) for seed, (key, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("source", "target"), list(permutations(FRAMEWORKS, 2)))
def test_there_and_back_keeps_every_bit(source, target, dtype):
    native = convert(example(dtype), "torch", source)
    back = convert(convert(native, source, target), target, source)
    assert list(back) == list(native)
    for key, array in native.items():
        assert back[key].dtype == dtype
        assert bits(back[key]) == bits(array), key


def test_the_axes_are_where_each_framework_has_them():
    weights = example()
    paddle_weights, flax_weights = (convert(weights, "torch", target) for target in ("paddle", "flax"))
    kernel = weights["stem.conv.weight"]
    o, i, h, w = 6, 3, 2, 4
    assert bits(paddle_weights["stem.conv.weight"][o, i, h, w]) == bits(kernel[o, i, h, w])
    assert bits(flax_weights["stem.conv.kernel"][h, w, i, o]) == bits(kernel[o, i, h, w])
    assert bits(paddle_weights["head.weight"][6, 4]) == bits(weights["head.weight"][4, 6])
    assert bits(flax_weights["head.kernel"][6, 4]) == bits(weights["head.weight"][4, 6])
    assert bits(flax_weights["video.kernel"][1, 2, 4, 3, 5]) == bits(weights["video.weight"][5, 3, 1, 2, 4])
    assert bits(flax_weights["audio.kernel"][6, 3, 5]) == bits(weights["audio.weight"][5, 3, 6])
    assert flax_weights.keys() >= {"norm.scale", "norm.bias", "norm.mean", "norm.var"}
    assert paddle_weights.keys() >= {"norm.weight", "norm.bias", "norm._mean", "norm._variance"}


def test_converting_changes_nothing_that_it_was_given():
    weights = example()
    before = {key: bits(array) for key, array in weights.items()}
    convert(weights, "torch", "flax")
    assert {key: bits(array) for key, array in weights.items()} == before


def test_the_batch_counter_is_left_out():
    counter = {"norm.num_batches_tracked": np.array(7), "norm.weight": np.ones(3)}
    assert list(convert(counter, "torch", "flax")) == ["norm.scale"]


@pytest.mark.parametrize(
    ("weights", "source", "words"),
    [
        (
            {"a.weight_g": np.ones((3, 1)), "b.running_mean": np.ones((2, 2))},
            "torch",
            "a.weight_g (3, 1), b.running_mean (2, 2)",
        ),
        (
            {
                "rnn.weight_ih_l0": np.ones((8, 3)),
                "rnn.weight_hh_l0": np.ones((8, 1)),
                "rnn.weight_hr_l0": np.ones((1, 2)),
            },
            "torch",
            "rnn.weight_hr_l0",
        ),
        ({"a.weight": np.ones((1,) * 6)}, "torch", "a.weight"),
        ({"a.kernel": np.ones((2, 2)), "a.scale": np.ones(2)}, "flax", "a.kernel (2, 2), a.scale (2,)"),
        ({"a.weight": np.ones((2, 2))}, "paddle", "whether a is of the kind linear or embedding"),
        ({"a.weight": np.ones(2), "b.a.weight": np.ones(2)}, "keras", "'keras'"),
        ({}, "keras", "'keras'"),
    ],
)
def test_what_the_table_does_not_know_is_refused_by_name(weights, source, words):
    with pytest.raises(ParityError) as error:
        convert(weights, source, "torch")
    assert words in str(error.value)


@pytest.mark.parametrize(("source", "target"), [("oihw", "hwi"), ("oihh", "hhio"), ("oih", "hio")])
def test_relayout_refuses_axes_that_do_not_fit(source, target):
    with pytest.raises(ParityError):
        relayout(np.ones((2, 3, 4, 5)), source, target)


def model_of(framework):
    return framework.build("SE_ASPP", (4, 8), {"rates": (2, 3)})


def canonical_weights(dtype=FLOAT32):
    rng = np.random.default_rng(1)
    return {
        key: rng.uniform(0.5, 1.5, shape).astype(dtype) for key, shape in shapes(SE_ASPP(4, 8, rates=(2, 3))).items()
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_model_gives_back_the_bits_and_the_dtype_that_it_was_set_to(framework, dtype):
    model, weights = model_of(framework), canonical_weights(dtype)
    set_weights(model, weights)
    got = get_weights(model)
    assert got.keys() == weights.keys()
    for key, array in weights.items():
        assert got[key].dtype == dtype
        assert bits(got[key]) == bits(array), key


def test_two_modules_built_alike_share_no_array(framework):
    one, other = model_of(framework), model_of(framework)
    set_weights(one, canonical_weights())
    set_weights(other, {key: array + 1 for key, array in canonical_weights().items()})
    got = get_weights(one)
    assert all(np.array_equal(got[key], array) for key, array in canonical_weights().items())


def test_the_model_and_the_arrays_share_no_memory(framework):
    model, weights = model_of(framework), canonical_weights()
    set_weights(model, weights)
    before = {key: array.copy() for key, array in weights.items()}
    for array in weights.values():
        array += 1
    got = get_weights(model)
    for key, array in got.items():
        assert np.array_equal(array, before[key]), key
        array += 1
    assert all(np.array_equal(array, before[key]) for key, array in get_weights(model).items())


def test_reading_weights_out_copies_what_training_goes_on_to_change(framework):
    model = model_of(framework)
    set_weights(model, canonical_weights())
    got = get_weights(model)
    before = {key: array.copy() for key, array in got.items()}
    framework.forward(model, np.random.default_rng(0).standard_normal((2, 4, 9, 11), np.float32), train=True)
    assert all(np.array_equal(array, before[key]) for key, array in got.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("se.fc1.weight"), "missing se.fc1.weight"),
        (lambda w: w.update({"se.fcl.weight": w.pop("se.fc1.weight")}), "unexpected se.fcl.weight"),
        (lambda w: w.update({"pool.conv.weight": np.ones((4, 8, 1, 1))}), "pool.conv.weight must have shape (8, 4, 1, 1), got (4, 8, 1, 1)"),
        (lambda w: w.update({"pool.conv.bias": np.ones(1)}), "pool.conv.bias must have shape (8,), got (1,)"),
        (lambda w: w["se.fc2.bias"].__setitem__(3, np.nan), "se.fc2.bias holds 1 NaN in 32 values"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named_and_nothing_is_set(framework, change, words):
    model, weights = model_of(framework), canonical_weights()
    set_weights(model, weights)
    wrong = {key: array + 1 for key, array in weights.items()}
    change(wrong)
    with pytest.raises(ParityError) as error:
        set_weights(model, wrong)
    assert words in str(error.value)
    assert all(np.array_equal(array, weights[key]) for key, array in get_weights(model).items())


def test_all_faults_are_named_at_once(framework):
    model, weights = model_of(framework), canonical_weights()
    del weights["se.fc1.bias"]
    weights["extra"] = np.ones(1)
    weights["se.fc2.bias"] = np.ones(5)
    with pytest.raises(ParityError, match=r"missing se\.fc1\.bias; unexpected extra; se\.fc2\.bias must have shape"):
        set_weights(model, weights)


def foreign_models():
    return {
        "torch bilinear": (torch.nn.Bilinear(2, 3, 4), "weight (4, 2, 3)"),
        "torch attention with its own keys": (torch.nn.MultiheadAttention(4, 2, add_bias_kv=True), "bias_k (1, 1, 4)"),
        "torch LSTM with projections": (torch.nn.LSTM(3, 4, proj_size=2), "weight_hr_l0 (2, 4)"),
        "paddle bilinear": (paddle.nn.Bilinear(2, 3, 4), "weight (4, 2, 3)"),
        "paddle weight norm of the inputs": (paddle.nn.utils.weight_norm(paddle.nn.Linear(3, 3)), "weight_v (3, 3)"),
        "flax einsum": (nnx.Einsum("ab,bc->ac", (4, 5), rngs=nnx.Rngs(0)), "kernel (4, 5)"),
        "flax general linear layer": (nnx.List([nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=nnx.Rngs(0))]), "0.kernel (2, 3, 4)"),
        "flax spectral norm": (nnx.SpectralNorm(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0)), "(1, 3)"),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(foreign_models()))
def test_a_layer_of_unknown_layout_is_refused_by_name(name):
    model, words = foreign_models()[name]
    for use in (get_weights, lambda model: set_weights(model, {})):
        with pytest.raises(ParityError) as error:
            use(model)
        assert words in str(error.value)


def own_models():
    return {
        "torch": torch.nn.Sequential(
            torch.nn.Conv2d(4, 8, (3, 5), groups=2), torch.nn.Linear(7, 7), torch.nn.LayerNorm(6), torch.nn.Conv1d(2, 3, 5)
        ),
        "paddle": paddle.nn.Sequential(
            paddle.nn.Conv2D(4, 8, (3, 5), groups=2), paddle.nn.Linear(7, 7), paddle.nn.LayerNorm(6), paddle.nn.Conv1D(2, 3, 5)
        ),
        "flax": nnx.List(
            [
                nnx.Conv(4, 8, (3, 5), feature_group_count=2, rngs=nnx.Rngs(0)),
                nnx.Linear(7, 7, rngs=nnx.Rngs(0)),
                nnx.LayerNorm(6, rngs=nnx.Rngs(0)),
                nnx.Conv(2, 3, (5,), rngs=nnx.Rngs(0)),
            ]
        ),
    }  # fmt: skip


def test_a_users_own_model_moves_too():
    models = own_models()
    weights = get_weights(models["torch"])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 7), np.float32)
    outputs = {}
    for name, model in models.items():
        set_weights(model, weights)
        assert {key: bits(array) for key, array in get_weights(model).items()} == {
            k: bits(a) for k, a in weights.items()
        }
        linear = model[1]
        give = {"torch": torch.from_numpy, "paddle": paddle.to_tensor, "flax": jnp.asarray}[name]
        y = linear(give(x))
        outputs[name] = y.detach().numpy() if name != "flax" else np.asarray(y)
    # The square linear layer is the one whose transposition no shape shows.
    assert np.allclose(outputs["paddle"], outputs["torch"], rtol=0, atol=1e-5)
    assert np.allclose(outputs["flax"], outputs["torch"], rtol=0, atol=1e-5)


def test_canonical_weights_load_into_torch_strictly_and_its_counter_starts_at_zero():
    model = torch_impl.CBAM(16, norm=True)
    model(torch.ones(2, 16, 5, 5))
    weights = get_weights(model)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()}, strict=True)
    set_weights(model, weights)
    assert model.state_dict()["spatial.norm.num_batches_tracked"] == 0


def test_a_compiled_torch_model_has_the_same_keys():
    model = torch_impl.SE(32)
    assert get_weights(torch.compile(model)).keys() == get_weights(model).keys()


def test_a_model_of_no_framework_is_a_type_error():
    with pytest.raises(TypeError, match="got dict"):
        get_weights({})


def flax_pair():
    return nnx.List([nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(0))])  # fmt: skip


def pair_weights():
    rng = np.random.default_rng(3)
    shapes = {"0.weight": (4, 3), "0.bias": (4,)}
    shapes |= {f"1.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {key: rng.uniform(0.5, 1.5, shape) for key, shape in shapes.items()}


def test_abstract_models_and_states_are_set_without_being_initialised():
    weights = pair_weights()
    abstract = nnx.eval_shape(flax_pair)
    set_weights(abstract, weights)
    state = nnx.eval_shape(lambda: nnx.state(flax_pair(), (nnx.Param, nnx.BatchStat)))
    set_weights(state, weights)
    model = flax_pair()
    nnx.update(model, state)
    x = jnp.ones((2, 3))
    outputs = []
    for each in (abstract, model):
        each.eval()
        outputs.append(np.asarray(each[1](each[0](x))))
        assert {k: bits(a) for k, a in get_weights(each).items()} == {k: bits(a) for k, a in weights.items()}
    assert np.array_equal(*outputs)
    abstract.train()
    assert abstract[2](x).shape == x.shape  # its random stream has a seed


def test_linens_trees_are_set_in_place():
    weights = {key: array for key, array in pair_weights().items() if "running" not in key}
    tree = {
        "0": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)},
        "1": {"scale": jnp.zeros(4), "bias": jnp.zeros(4)},
    }
    set_weights(tree, weights)
    assert np.array_equal(tree["0"]["kernel"], weights["0.weight"].T)
    assert {k: bits(a) for k, a in get_weights(tree).items()} == {k: bits(a) for k, a in weights.items()}


class LinenPair(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(4, name="0")(x)
        return linen.BatchNorm(use_running_average=True, epsilon=1e-5, name="1")(x)


@pytest.mark.parametrize("abstract", [True, False])
def test_what_a_linen_module_initialises_is_set_by_canonical_keys(abstract):
    weights, x = pair_weights(), np.random.default_rng(1).standard_normal((2, 3))
    init = partial(LinenPair().init, jax.random.key(0), x)
    variables = jax.eval_shape(init) if abstract else init()
    set_weights(variables, weights)
    y = LinenPair().apply(variables, x)
    model = flax_pair()
    set_weights(model, weights)
    model.eval()
    assert np.abs(y - model[1](model[0](x))).max() <= 1e-14
    assert {k: bits(a) for k, a in get_weights(variables).items()} == {k: bits(a) for k, a in weights.items()}


def test_one_name_of_a_tied_weight_is_enough_and_two_must_agree():
    model = torch.nn.ModuleDict({"emb": torch.nn.Embedding(5, 3), "head": torch.nn.Linear(3, 5, bias=False)})
    model["head"].weight = model["emb"].weight
    weights = {"emb.weight": np.arange(15.0).reshape(5, 3)}
    set_weights(model, weights)
    assert get_weights(model).keys() == {"emb.weight", "head.weight"}
    assert model["head"].weight is model["emb"].weight
    set_weights(model, {**weights, "head.weight": weights["emb.weight"]})
    with pytest.raises(ParityError, match=r"two names of one array, of shape \(5, 3\), are given different values"):
        set_weights(model, {**weights, "head.weight": weights["emb.weight"] + 1})


def test_a_gru_that_flax_does_not_have_is_refused_by_name():
    weights = {key: array.numpy() for key, array in torch.nn.GRU(2, 3).state_dict().items()}
    with pytest.raises(ParityError, match=r"the last third of bias_hh_l0 is not zero"):
        convert(weights, "torch", "flax")
    weights["bias_hh_l0"][6:] = 0
    flax_weights = convert(weights, "torch", "flax")
    assert np.array_equal(flax_weights["cell.dense_i.bias"], weights["bias_ih_l0"] + weights["bias_hh_l0"])


def test_arrays_of_a_users_own_module_move_as_they_are():
    model = torch.nn.ParameterDict({"gamma": torch.ones(3, 4), "pos_embed": torch.ones(1, 2, 3)})
    assert {key: array.shape for key, array in get_weights(model).items()} == {"gamma": (3, 4), "pos_embed": (1, 2, 3)}
