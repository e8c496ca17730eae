"""Random-rounding Monte Carlo arithmetic of any PyTorch computation, forward and backward."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import log2, prod, sqrt
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from . import rules

LIBRARY = rules.Library(torch.where, torch.maximum, torch.floor)


class MonteCarlo(TorchDispatchMode):
    """A context in which float64 operations of PyTorch err as an honest computation of `unit_roundoff` would.

    After each primitive operation a random error is added to its result; see `rules` for its size. What is made of
    several primitives is taken apart first. Everything but float64 is left as it is, and so is what errs nowhere: the
    same seed gives the same errors.

    Args:
        unit_roundoff: The largest relative error of rounding to the precision that is simulated.
        seed: What the errors are drawn from.
        accumulator: The unit roundoff that products and sums are added up with; `unit_roundoff` if none is given.

    Attributes:
        unknown: The names of operations met that the noise model does not know: each value of theirs erred by one
            rounding.

    >>> with MonteCarlo(2.0**-24, seed=0) as engine:
    ...     y = torch.ones(3, dtype=torch.float64) / 3
    >>> engine.unknown
    set()
    """

    def __init__(self, unit_roundoff: float, seed: int, accumulator: float | None = None) -> None:
        super().__init__()
        self.unit_roundoff = unit_roundoff
        self.accumulator = unit_roundoff if accumulator is None else accumulator
        self.seed = seed
        self.unknown: set[str] = set()
        self.generators: dict[torch.device, torch.Generator] = {}
        self.contexts: list[ExitStack] = []

    def __enter__(self) -> "MonteCarlo":
        # Attention in its math form, and no encoder layer in one piece: those cannot be taken apart.
        stack = ExitStack()
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        fast = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        self.contexts.append(stack)
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.contexts.pop().close()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.rpartition("::")[2]
        base = name if name.startswith("__") else name.removesuffix("_")
        if base in rules.TORCH_EXACT or not _is_double(args, kwargs):
            return func(*args, **kwargs)
        if base != name:
            return self._in_place(func, base, args, kwargs)
        if "out" in kwargs:
            return self._into(func, args, kwargs)
        if kwargs.get("rounding_mode") or (base in rules.TORCH_SCATTERED and _is_assignment(base, args, kwargs)):
            return func(*args, **kwargs)
        for names, rule in RULES:
            if base in names:
                return rule(self, func, args, kwargs)
        return self._apart(func, args, kwargs)

    def _in_place(self, func: Any, base: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation with its own result, which then goes where the operation in place would have put it."""
        packet = getattr(getattr(torch.ops, func.namespace), base, None)
        if packet is None:
            self.unknown.add(str(func.overloadpacket))
            y = self.each(func(*args, **kwargs).clone())
        else:
            with self._again():
                y = packet(*args, **kwargs)
        args[0].copy_(y)
        return args[0]

    def _into(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation whose result goes into a tensor given as `out`."""
        out = kwargs["out"]
        with self._again():
            y = func.overloadpacket(*args, **{key: value for key, value in kwargs.items() if key != "out"})
        return out.copy_(y)

    def _apart(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operation taken apart into others, or else its result off by one rounding and its name kept."""
        parts = DECOMPOSITIONS.get(func) or decomposition_table.get(func)
        if parts is not None:
            with self._again():
                y = parts(*args, **kwargs)
            if y is NotImplemented:
                # A pool's gradient is not taken apart where only deterministic kernels may run.
                with self._again(), _any_kernel():
                    y = parts(*args, **kwargs)
            if y is not NotImplemented:
                return y
        with self._again():
            y = func.decompose(*args, **kwargs)
        if y is not NotImplemented:
            return y
        y = func(*args, **kwargs)
        if _is_double((y,), {}):
            self.unknown.add(str(func.overloadpacket))
        return _map(lambda y: self.each(y.clone()), y)

    def _again(self) -> ExitStack:
        """This mode, below autograd."""
        stack = ExitStack()
        stack.enter_context(torch.no_grad())
        stack.enter_context(_Reentered(self))
        return stack

    def _generator(self, like: Tensor) -> torch.Generator:
        """The random numbers of a device."""
        if like.device not in self.generators:
            self.generators[like.device] = torch.Generator(like.device).manual_seed(self.seed)
        return self.generators[like.device]

    def each(self, y: Tensor, scale: float = 1.0, repeated: Sequence[int] = ()) -> Tensor:
        """Values with an error of one operation each, put into y itself; along the axes `repeated` they err alike."""
        if y.is_complex():
            self.each(torch.view_as_real(y), scale)
        elif y.dtype == torch.float64:
            few = y[tuple(slice(1) if axis in repeated else slice(None) for axis in range(y.ndim))]
            y += rules.largest_error(LIBRARY, few, self.unit_roundoff) * self.uniform(few, scale)
        return y

    def uniform(self, y: Tensor, most: float) -> Tensor:
        """As many random numbers in [-most, most], of which float32 draws enough."""
        return torch.empty(y.shape, device=y.device).uniform_(-most, most, generator=self._generator(y)).double()

    def off(self, y: Tensor, variance: Tensor) -> Tensor:
        """Values with normal errors of that variance, put into y itself."""
        deviation = variance.sqrt().nan_to_num(0.0, 0.0, 0.0)
        y += deviation * torch.empty(y.shape, device=y.device).normal_(generator=self._generator(y))
        return y

    def every(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `rules.TORCH_EACH`."""
        alpha = kwargs.get("alpha", 1)
        if alpha not in (1, -1) and isinstance(args[1], Tensor):
            args = (args[0], self.each(args[1] * alpha), *args[2:])
            kwargs = {key: value for key, value in kwargs.items() if key != "alpha"}
        operands = [value for value in args if isinstance(value, Tensor)]
        return _map(lambda y: self.each(y, repeated=_repeated(y, operands)), func(*args, **kwargs))

    def total(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `rules.TORCH_SUM`."""
        x, y = args[0], func(*args, **kwargs)
        if y.dtype != torch.float64 or x.dtype != torch.float64 or not x.numel():
            return y
        axes = args[1] if len(args) > 1 and args[1] is not None else kwargs.get("dim")
        axes = [axes] if isinstance(axes, int) else axes
        axes = [axis % x.ndim for axis in axes] if axes else list(range(x.ndim))
        count = prod(x.shape[axis] for axis in axes)
        if count == 1:
            return y
        variance = self.variance_of_sum(x, axes, rules.BLOCK, wide=not _is_backward()).reshape(y.shape)
        if func.overloadpacket is torch.ops.aten.mean:
            return self.each(self.off(y, variance / count**2))
        return self.rounded_to(self.off(y, variance))

    def variance_of_sum(self, x: Tensor, axes: Sequence[int], block: int, *, wide: bool) -> Tensor:
        """The variance of the errors of x's sums over `axes`, added up in order within blocks, as one row.

        Where they are not `wide`, they are added up in the precision that is simulated.
        """
        count = prod(x.shape[axis] for axis in axes)
        rows = x.movedim(tuple(axes), tuple(range(-len(axes), 0))).reshape(-1, count)
        return rules.variance_of_sum(LIBRARY, rows, self.accumulator if wide else self.unit_roundoff, block)

    def rounded_to(self, y: Tensor) -> Tensor:
        """A sum that was added up in a wider format, rounded to the one that is simulated."""
        return y if self.accumulator == self.unit_roundoff else self.each(y)

    def running(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `rules.TORCH_RUNNING`."""
        y = func(*args, **kwargs)
        axis = args[1] if len(args) > 1 else kwargs["dim"]
        if y.dtype != torch.float64 or not y.ndim:
            return y
        errors = self.uniform(y, self.unit_roundoff)
        if func.overloadpacket is torch.ops.aten.cumprod:
            return y * (1 + errors.cumsum(axis))
        return y + (y * errors).cumsum(axis)

    def power(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A product of many factors."""
        y = func(*args, **kwargs)
        return self.each(y, sqrt(max(1, args[0].numel() // max(1, y.numel()))))

    def products(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `rules.TORCH_PRODUCTS`."""
        operands = [i for i, value in enumerate(args) if isinstance(value, Tensor)]
        squares, scale = list(args), self.accumulator
        for i in operands:
            squares[i], largest = _squared(args[i])
            scale *= largest
        y, size = func(*args, **kwargs), func(*squares, **kwargs)
        variance = rules.variance_of_products(_terms(func, args))
        return self.off_products(y, size.clamp_min(0) * (scale**2 * variance))

    def off_products(self, y: Tensor, variance: Tensor) -> Tensor:
        """Sums of products with their errors and that of the last rounding."""
        return self.off(y, variance + y**2 * (self.unit_roundoff**2 / 3))

    def convolution(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A convolution, to which its bias is added."""
        x, weight, bias, *options = args
        y = self.products(func, (x, weight, None, *options), kwargs)
        return y if bias is None else self.each(y + bias.view(-1, *[1] * (weight.ndim - 2)))

    def convolution_backward(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The gradients of a convolution with respect to its input, its weight and its bias."""
        gradient, x, weight, sizes, *options, mask = args
        found = func(gradient, x, weight, sizes, *options, (*mask[:2], False), **kwargs)
        squares, scales = zip(*map(_squared, (gradient, x, weight)), strict=True)
        forms = func(*squares, sizes, *options, (*mask[:2], False), **kwargs)
        transposed, groups = options[3], options[5]
        kernel = prod(weight.shape[2:])
        into = (weight.shape[1] if transposed else weight.shape[0] // groups) * kernel
        places = gradient.shape[0] * prod((x if transposed else gradient).shape[2:])
        results: list[Tensor | None] = [None, None, None]
        for i, (other, terms) in enumerate(((scales[2], into), (scales[1], places))):
            if mask[i]:
                scale = (self.accumulator * scales[0] * other) ** 2 * rules.variance_of_products(terms)
                results[i] = self.off_products(found[i], forms[i].clamp_min(0) * scale)
        if mask[2]:
            # PyTorch's dilated convolution adds the gradients of a whole batch in order.
            axes = [0, *range(2, gradient.ndim)]
            variance = self.variance_of_sum(gradient, axes, places, wide=False)
            results[2] = self.rounded_to(self.off(gradient.sum(axes), variance))
        return tuple(results)

    def scattered(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `rules.TORCH_SCATTERED`."""
        source, base = rules.TORCH_SCATTERED[_base(func)]

        def form(change: Callable[[Tensor], Tensor]) -> Tensor:
            changed = list(args)
            for i in (source,) if base is None else (source, base):
                changed[i] = change(args[i])
            return func(*changed, **kwargs)

        y = func(*args, **kwargs)
        count = form(lambda x: (x != 0).to(x.dtype))
        return self.off(y, rules.variance_of_scattered(LIBRARY, y, form(torch.square), count, self.accumulator))

    def average(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `rules.TORCH_AVERAGE`."""
        x, *rest = args
        y, squares, weight = (func(values, *rest, **kwargs) for values in (x, x**2, torch.ones_like(x)))
        terms = max(1.0, x.numel() / y.numel())
        variance = rules.variance_of_average(LIBRARY, y, squares, weight, terms, self.accumulator)
        side, other = max(x.shape[2:]), max(y.shape[2:])
        # Where one side is the other times a power of two the positions are exact.
        if "upsample" in _base(func) and not log2(side / other).is_integer():
            variance += rules.variance_of_positions(squares.abs(), weight.abs(), max(side, other), self.unit_roundoff)
        return self.each(self.off(y, variance))


class _Reentered:
    """A mode pushed once more, without what `MonteCarlo.__enter__` prepares."""

    def __init__(self, mode: MonteCarlo) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        TorchDispatchMode.__enter__(self.mode)

    def __exit__(self, *error: object) -> None:
        TorchDispatchMode.__exit__(self.mode, *error)


Rule = Callable[[MonteCarlo, Any, tuple[Any, ...], dict[str, Any]], Any]

RULES: tuple[tuple[Any, Rule], ...] = (
    (rules.TORCH_EACH, MonteCarlo.every),
    (rules.TORCH_SUM, MonteCarlo.total),
    ({"convolution"}, MonteCarlo.convolution),
    ({"convolution_backward"}, MonteCarlo.convolution_backward),
    (rules.TORCH_PRODUCTS, MonteCarlo.products),
    (rules.TORCH_RUNNING, MonteCarlo.running),
    ({"prod"}, MonteCarlo.power),
    (rules.TORCH_SCATTERED, MonteCarlo.scattered),
    (rules.TORCH_AVERAGE, MonteCarlo.average),
)


def _sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) as kernels compute it."""
    return 1 / (torch.exp(-x) + 1)


def _variance(
    x: Tensor, axes: Sequence[int] | int | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """The variance, in two passes as kernels compute it, and the mean."""
    axes = [axes] if isinstance(axes, int) else list(axes or range(x.ndim))
    mean = x.mean(axes, keepdim=True)
    total = (x - mean).square().sum(axes, keepdim=keepdim)
    count = x.numel() // max(1, mean.numel())
    return total / (count - (1 if correction is None else correction)), mean if keepdim else mean.reshape(total.shape)


# PyTorch holds these for primitives.
DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sigmoid.default: _sigmoid,
    torch.ops.aten.var_mean.correction: _variance,
    torch.ops.aten.var.correction: lambda *args, **kwargs: _variance(*args, **kwargs)[0],
    torch.ops.prims.var.default: lambda x, axes, correction=1, **_: _variance(x, axes, correction=correction)[0],
}


def _is_backward() -> bool:
    """Whether autograd is at work: what was broadcast is added up by XLA in the precision that it has."""
    return torch._C._current_graph_task_id() != -1


def _base(func: Any) -> str:
    """The operation's name without namespace, overload and the underscore of those in place."""
    return func._schema.name.rpartition("::")[2].removesuffix("_")


@contextmanager
def _any_kernel() -> Iterator[None]:
    """Let kernels run that are not deterministic, too; for a place where only others may."""
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warns)


def _is_double(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether some operand is float64 or complex128."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            if value.dtype in (torch.float64, torch.complex128):
                return True
        elif isinstance(value, list | tuple) and _is_double(tuple(value), {}):
            return True
    return False


def _is_assignment(base: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation that can add puts values in place of others instead."""
    if "index_put" not in base:
        return False
    return not (args[3] if len(args) > 3 else kwargs.get("accumulate", False))


def _map(change: Callable[[Tensor], Tensor], results: Any) -> Any:
    """The results, each float64 tensor among them changed."""
    if isinstance(results, Tensor):
        return change(results) if results.dtype in (torch.float64, torch.complex128) else results
    if isinstance(results, list | tuple):
        return type(results)(_map(change, result) for result in results)
    return results


def _repeated(y: Tensor, operands: Sequence[Tensor]) -> list[int]:
    """The axes along which every operand holds the same values over and over: so does y, and its errors."""
    return [
        axis
        for axis in range(y.ndim)
        if y.shape[axis] > 1
        and all(x.ndim + axis < y.ndim or x.shape[axis - y.ndim] == 1 or x.stride(axis - y.ndim) == 0 for x in operands)
    ]


def _squared(x: Tensor) -> tuple[Tensor, float]:
    """The squares of x over that of its largest value, in float32 because their sums need no more, and that value."""
    largest = float(x.abs().max()) if x.numel() else 0.0
    return ((x / largest) if largest else x).square().float(), largest


def _terms(func: Any, args: tuple[Any, ...]) -> int:
    """The number of products that each value adds up."""
    name = _base(func)
    if name == "convolution":
        x, weight, groups = args[0], args[1], args[8]
        return x.shape[1] // groups * prod(weight.shape[2:])
    if name == "_trilinear":
        return prod(args[0].shape[axis] for axis in range(args[0].ndim))
    return args[0].shape[-1]
