"""One side: its model in the process at hand, and what can be asked of it. NumPy in, NumPy out."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any
from zlib import crc32

import numpy as np

from .. import frameworks
from ..errors import ParityError
from ..frameworks.adapter import Adapter
from . import arrays, bundles, trees
from .axes import align
from .load import describe
from .taps import Feed, Record, Taps

# From here on NumPy knows bfloat16 by name.
with suppress(ImportError):
    import ml_dtypes  # noqa: F401

Arrays = dict[str, np.ndarray]

# Other frameworks' names for the same attribute of a layer.
SYNONYMS = {
    "epsilon": "eps", "strides": "stride", "kernel_dilation": "dilation", "feature_group_count": "groups",
    "num_groups": "groups", "rate": "p", "negative_slope": "slope", "data_format": "", "transpose_kernel": "transposed",
    "input_dilation": "", "mask": "", "dtype": "", "param_dtype": "", "promote_dtype": "", "preferred_element_type": "",
}  # fmt: skip


class Side:
    """A model that was built, and the framework that it is of.

    Args:
        model: The model; its arrays and its mode are changed.
        sites: The line that made each layer, by the layer's id.
    """

    def __init__(self, model: Any, sites: Mapping[int, tuple[str, int]]) -> None:
        self.model = model
        self.framework: Adapter = frameworks.of(model)
        self.tools: Any = import_module(f".side_{self.framework.NAME}", __package__)
        self.sites = sites
        self.aliases = {path: alias for path, alias, _ in self.tools.modules(model)}
        self.bundles: list[bundles.Bundle] = []
        self.slots = self._slots()
        self.weights = self.own = arrays.read(self.framework, self.slots)
        # As its author has them: later passes ask for every gradient.
        self.frozen = self.tools.frozen_keys(model)

    def describe(self) -> dict[str, Any]:
        """The framework, the class and every layer, for the report."""
        owned: dict[str, list[str]] = {}
        paths = sorted(self.aliases, key=len, reverse=True)
        for slot in self.slots:
            for native in slot.natives:
                path = next(path for path in paths if not path or native.startswith(f"{path}."))
                owned[path] = list(dict.fromkeys([*owned.get(path, []), *slot.keys]))
        return {
            "framework": self.framework.NAME,
            "class": type(self.model).__name__,
            "channels_last": self.tools.CHANNELS_LAST,
            "laid_out": [key for slot in self.slots if slot.leaf is not None for key in slot.keys],
            "summed": [key for slot in self.slots if slot.is_sum for key in slot.keys],
            "natives": [[list(slot.natives), list(slot.keys)] for slot in self.slots],
            "frozen": sorted(key for slot in self.slots if self.frozen & {*slot.natives} for key in slot.keys),
            "parameters": sum(array.size for array in self.weights.values()),
            "layers": [
                self._layer(path, alias, layer) | {"arrays": owned.get(path, [])}
                for path, alias, layer in self.tools.modules(self.model)
            ],
        }

    def _layer(self, path: str, alias: str, layer: Any) -> dict[str, Any]:
        file, line = self.sites.get(id(layer), ("", 0))
        try:
            forward = inspect.unwrap(self.tools.forward_of(layer))
            source, first = inspect.getsourcelines(forward)
            body = (inspect.getsourcefile(forward) or "", first, first + len(source) - 1)
        except (OSError, TypeError):
            body = ("", 0, 0)
        return {
            "path": path,
            "alias": alias,
            "class": type(layer).__name__,
            "leaf": self.tools.is_leaf(layer),
            "config": _config(self.tools.config(layer), self.framework.NAME),
            "file": file,
            "line": line,
            "forward": body,
        }

    def get_weights(self) -> Arrays:
        """The weights by canonical key, in the precision that the model came in."""
        return self.weights

    def set_weights(self, weights: Arrays) -> None:
        """Have every later pass begin with these weights."""
        self.weights = {key: weights[key] for slot in self.slots for key in slot.keys}

    def bundle(self, given: Sequence[Mapping[str, Any]]) -> tuple[Arrays, dict[str, Any]]:
        """Have these arrays go by the other model's forms from now on; the weights, and what `describe` says then."""
        natives: Arrays = {}
        for slot in self.slots:
            natives |= zip(slot.natives, slot.outward([self.own[key] for key in slot.keys]), strict=True)
        self.bundles = [bundles.from_dict(each) for each in given]
        self.slots = self._slots()
        self.weights = {}
        for slot in self.slots:
            self.weights |= zip(slot.keys, slot.inward([natives[native] for native in slot.natives]), strict=True)
        self.own = self.weights
        return _in_order(self.weights), self.describe()

    def _slots(self) -> list[arrays.Slot | arrays.Bundled]:
        return arrays.slots(self.framework, self.model, self.aliases, self.bundles)

    def run(
        self,
        inputs: Sequence[np.ndarray],
        *,
        dtype: str,
        train: bool,
        layers: bool,
        gradients: bool,
        given: Arrays | None = None,
        moved: int = 0,
        held: str | None = None,
        compiled: bool = False,
        salt: str = "",
    ) -> tuple[Arrays, dict[str, Any]]:
        """One pass: every output, gradient and buffer, of the whole or of each layer.

        Args:
            inputs: The arguments of the model.
            dtype: The precision to compute in.
            train: Train mode, in which buffers move, or eval mode.
            layers: Whether each layer's tensors are recorded, or the model's alone.
            gradients: Whether there is a backward pass.
            given: The other side's outputs by name, and under "cotangent|" and the name what they are multiplied by;
                without it those are drawn.
            moved: What brings the other side's axes here, see `axes.candidates`.
            held: The precision that weights and inputs are rounded to first; without it `dtype`.
            compiled: Whether the framework compiles the model as a whole, which shows no layers.
            salt: Of the drawn cotangents, to draw others.

        Returns:
            Arrays under "value|NAME", "gradient|NAME", "parameter|KEY" and "buffer|KEY", see `taps`; and the calls.
        """
        self.begin(dtype, train, held)
        record = Record(self.tools)
        leaves = self.leaves(inputs, dtype, held)
        record.only = None if layers else {""}

        def cotangent(name: str, shape: tuple[int, ...]) -> np.ndarray | None:
            if given is None:
                return draw_cotangent(salt + name, shape)
            if f"cotangent|{name}" not in given:
                return None
            fit = align(given[name], record.values[name], moved)
            return None if fit is None else fit.apply(given[f"cotangent|{name}"])

        wanted = cotangent if gradients else None
        with _told(self.model, leaves):
            outputs, to_inputs, parameters = self.tools.pull(
                self.model, self.recorded(record), leaves, None if compiled else wanted
            )
            if compiled:
                self.begin(dtype, train, held)
                outputs, to_inputs, parameters = self.tools.pull(
                    self.model, self.recorded(None), leaves, wanted, compiled=True
                )
                record.gradients = to_inputs
        found = {f"value|{name}": array for name, array in {**record.values, **outputs}.items()}
        found |= {f"gradient|{name}": array for name, array in record.gradients.items()}
        found |= self.parameters(parameters)
        if train:
            found |= self.buffers()
        return _in_order(found), {"calls": record.calls, "parents": record.parents, "order": record.order}

    def leaves(self, inputs: Sequence[np.ndarray], dtype: str, held: str | None) -> Arrays:
        """The inputs by name in that precision, rounded to `held` first."""
        return {f"|0|in|{i}": _cast(_cast(array, held or dtype), dtype) for i, array in enumerate(inputs)}

    def recorded(self, taps: Taps | None) -> Callable[[Any, Mapping[str, Any]], dict[str, Any]]:
        """The function that runs the model on its inputs by name, each layer's tensors going through `taps`."""

        def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
            inputs = [tensors[f"|0|in|{i}"] for i in range(sum(name.startswith("|0|in|") for name in tensors))]
            if taps is None:
                return dict(_outputs(model(*inputs), self.tools))
            with self.tools.tapped(model, taps):
                output = model(*inputs)
            return dict(_outputs(output, self.tools))

        return function

    def feed(
        self, given: Arrays, cotangents: Arrays, *, inputs: int, dtype: str, train: bool
    ) -> tuple[Arrays, dict[str, Any]]:
        """One pass in which each layer gets the tensors given, see `taps.Feed`: what it adds by itself.

        Args:
            given: Tensors by name, the model's inputs and outputs among them.
            cotangents: What is multiplied by what comes to each name.
            inputs: How many arguments the model takes.
            dtype: The precision to compute in.
            train: Train mode or eval mode.

        Returns:
            As `run`, the values being what came, the gradients those of `given`.
        """
        self.begin(dtype, train)
        taps = Feed(self.tools)

        def function(model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
            taps.given = tensors
            with self.tools.tapped(model, taps):
                model(*(tensors[f"|0|in|{i}"] for i in range(inputs)))
            return taps.come

        outputs, to_given, parameters = self.tools.pull(self.model, function, given, cotangents or None)
        found = {f"value|{name}": array for name, array in outputs.items()}
        found |= {f"gradient|{name}": array for name, array in to_given.items()}
        found |= self.parameters(parameters)
        if train:
            found |= self.buffers()
        return _in_order(found), {"calls": taps.calls, "parents": taps.parents, "order": taps.order}

    def noise(self, inputs: Sequence[np.ndarray], **options: Any) -> tuple[Arrays, dict[str, Any]]:
        """The rounding noise of each array that `run` gives, by Monte Carlo arithmetic: see `noise.measure`."""
        from . import noise

        return noise.measure(self, inputs, **options)

    def search(self, target: str, given: Arrays, come: Arrays, *, inputs: int, train: bool,
               hints: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:  # fmt: skip
        """The known differences that, applied to one call of a layer, give what the other side's gave: see `causes`."""
        from . import causes

        return {}, causes.search(self, target, given, come, inputs, train, hints)

    def search_backward(self, target: str, given: Arrays, cotangents: Arrays, come: Arrays, *, inputs: int,
                        train: bool) -> tuple[Arrays, dict[str, Any]]:  # fmt: skip
        """The known differences that only gradients show, of one call of a layer: see `causes`."""
        from . import causes

        return {}, causes.search_backward(self, target, given, cotangents, come, inputs, train)

    def round_products(self, **options: Any) -> tuple[Arrays, dict[str, Any]]:
        """Compute one call of a layer where the operands of products are rounded: see `causes`."""
        from . import causes

        return causes.round_products(self, **options), {}

    def round_settings(self) -> None:
        """Give each norm the epsilon and momentum that Paddle's kernels have: they keep float32's, of the old value."""
        for _, _, layer in self.tools.modules(self.model):
            for key in ("eps", "epsilon", "_epsilon", "momentum", "_momentum"):
                value = vars(layer).get(key)
                if isinstance(value, float):
                    of_new = key == "momentum" and self.framework.NAME == "torch"
                    vars(layer)[key] = 1 - float(np.float32(1 - value)) if of_new else float(np.float32(value))

    def begin(self, dtype: str, train: bool, held: str | None = None) -> None:
        """Make the model ready for a pass: its weights, rounded to `held` first, its precision and mode."""
        self.tools.set_dtype(self.model, dtype)
        self.slots = self._slots()
        weights = {key: _cast(array, held or dtype) for key, array in self.weights.items()}
        arrays.write(self.framework, self.slots, weights, dtype)
        self.tools.set_mode(self.model, train=train)

    def parameters(self, gradients: Mapping[str, np.ndarray]) -> Arrays:
        """Gradients by native key as they are by canonical one."""
        found: Arrays = {}
        for slot in self.slots:
            if all(native in gradients for native in slot.natives):
                spread = slot.spread([gradients[native] for native in slot.natives])
                found |= {f"parameter|{key}": array for key, array in spread.items()}
        return found

    def buffers(self) -> Arrays:
        """The arrays that the model holds beside its parameters, by canonical key."""
        parameters = self.tools.parameter_keys(self.model)
        held = [slot for slot in self._slots() if not parameters & {*slot.natives}]
        return {f"buffer|{key}": array for key, array in arrays.read(self.framework, held).items()}


def draw_cotangent(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the array that an output is multiplied by, exact in float32."""
    rng = np.random.default_rng(crc32(name.encode()))
    return rng.standard_normal(shape, np.float32).astype(np.float64)


def _outputs(output: Any, tools: Any) -> list[tuple[str, Any]]:
    return [(f"|0|out|{i}", tensor) for i, tensor in enumerate(trees.tensors(output, tools.is_tensor))]


@contextmanager
def _told(model: Any, leaves: Arrays) -> Iterator[None]:
    """Turn what a model raises into one line that says for which inputs."""
    try:
        yield
    except ParityError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{array.dtype} {array.shape}" for array in leaves.values())
        raise ParityError(f"{type(model).__name__} raises for inputs {shapes}: {describe(error)}") from error


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(dtype) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


def _in_order(found: Mapping[str, np.ndarray]) -> Arrays:
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def _config(attributes: Mapping[str, Any], framework: str) -> dict[str, Any]:
    """The attributes that JSON can hold, by the names that PyTorch has for them."""
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        name = SYNONYMS.get(key.lstrip("_"), key.lstrip("_"))
        value = list(value) if isinstance(value, tuple) else value
        simple = value is None or isinstance(value, bool | int | float | str)
        if name and (
            simple or (isinstance(value, list) and all(isinstance(each, int | str | list | tuple) for each in value))
        ):
            found[name] = value
    # Of the new value in PyTorch, of the old one in the others.
    if framework != "torch" and isinstance(found.get("momentum"), float):
        found["momentum"] = round(1 - found["momentum"], 12)
    return found
