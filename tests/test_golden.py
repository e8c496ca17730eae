"""Systems that this project did not write are reproduced by the reference and by all three frameworks.

Where a system rounds something to float32 or uses another eps, a variant of the reference does the same, which must
give the system's own numbers; the difference between that variant and the reference is what may be between us and it.
"""

from functools import cache

import numpy as np
import paddle
import pytest
from golden_vectors import FOLDER, GOLDEN, canonical, read

from parity import get_weights, set_weights
from parity.reference import modules as reference
from parity.reference.arithmetic import Exact

GOLDEN_IDS = [golden.file for golden in GOLDEN]


class PaddleSegASPP(reference.ASPP):
    """ASPP whose pooled branch is resized by Paddle's bilinear kernel, which keeps its ratios in float32."""

    def features(self, x, ops, *, train):
        maps = super().features(x, ops, train=train)
        width = self.pool.norm.arrays["bias"].size
        pooled = paddle.to_tensor(maps[:, -width:, :1, :1])
        resized = paddle.nn.functional.interpolate(pooled, x.shape[2:], mode="bilinear").numpy()
        return np.concatenate((maps[:, :-width], resized), 1)


def relative_error(computed, truth):
    return np.abs(computed - truth).max() / np.abs(truth).max()


def weights_of(golden):
    arrays, origin = read(golden)
    weights = canonical(golden, arrays, "state/", origin)
    for key in golden.zero_bias:
        weights[key] = np.zeros(len(weights[key.replace("bias", "weight")]))
    return weights, arrays, origin


@cache
def reference_run(golden_file, mode, as_system):
    """The reference's output and arrays, as this project computes or as the system does."""
    golden = next(golden for golden in GOLDEN if golden.file == golden_file)
    weights, arrays, origin = weights_of(golden)
    cls, kwargs = getattr(reference, golden.module), dict(golden.kwargs)
    with pytest.MonkeyPatch.context() as patch:
        if as_system and origin == "torch":
            patch.setattr(reference, "EPSILON", 1e-5)
        if as_system and golden.file == "paddleseg_aspp":
            cls = PaddleSegASPP
        if as_system and golden.file == "paddleclas_mobilenetv3_se":
            kwargs["slope"] = float(np.float32(kwargs["slope"]))
        model = cls(*golden.args, **kwargs)
        reference.set_weights(model, weights)
        y = model(arrays["input"], Exact(), train=mode == "train")
    return y / arrays["input"] if golden.scale else y, reference.get_weights(model)


def system_buffers(golden, arrays, origin):
    """The system's running values after one step of train mode, with the unbiased variance."""
    buffers = canonical(golden, arrays, "train/state/", origin)
    before = canonical(golden, arrays, "state/", origin)
    for key in buffers:
        if golden.biased and key.endswith("running_var"):
            n, _, h, w = arrays["input"].shape
            count = n if key.startswith("pool.") else n * h * w
            kept = (1 - golden.kwargs["momentum"]) * before[key]
            buffers[key] = kept + (buffers[key] - kept) * count / (count - 1)
    return buffers


def test_every_vector_has_its_row():
    assert sorted(path.stem for path in FOLDER.glob("*.safetensors")) == sorted(GOLDEN_IDS)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("golden", GOLDEN, ids=GOLDEN_IDS)
def test_the_reference_is_the_system(golden, mode):
    _, arrays, origin = weights_of(golden)
    y, computed = reference_run(golden.file, mode, True)
    ours, _ = reference_run(golden.file, mode, False)
    truth = np.broadcast_to(arrays[f"{mode}/output"], y.shape)
    assert relative_error(y, truth) <= 1e-12
    assert relative_error(ours, truth) <= golden.quirk
    if mode == "train":
        for key, buffer in system_buffers(golden, arrays, origin).items():
            assert relative_error(computed[key], buffer) <= 1e-12, key


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("golden", GOLDEN, ids=GOLDEN_IDS)
def test_the_frameworks_are_the_system(framework, golden, mode):
    weights, arrays, origin = weights_of(golden)
    model = framework.build(golden.module, golden.args, golden.kwargs)
    set_weights(model, weights)
    y = framework.forward(model, arrays["input"], train=mode == "train")
    y = y / arrays["input"] if golden.scale else y
    system, system_arrays = reference_run(golden.file, mode, True)
    ours, our_arrays = reference_run(golden.file, mode, False)
    assert relative_error(y, arrays[f"{mode}/output"] + (ours - system)) <= 1e-10
    if mode == "train":
        computed = get_weights(model)
        for key, buffer in system_buffers(golden, arrays, origin).items():
            assert relative_error(computed[key], buffer + (our_arrays[key] - system_arrays[key])) <= 1e-10, key
