"""Random-rounding Monte Carlo arithmetic of any JAX function: its jaxpr, with errors after each primitive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun, subjaxprs

from . import rules

# The fewest random numbers of a pass. Those of two operations begin a fraction of 2^32 apart that no small multiple
# makes whole, those of two turns of a loop anywhere.
SMALLEST_POOL = 2**16
GOLDEN = 2654435769
MULTIPLIER = 747796405

# Primitives that call one jaxpr, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}


class Noisy:
    """A function whose float64 primitives err as an honest computation of `unit_roundoff` would.

    It takes a seed and the function's own arguments, and can be compiled by `jax.jit`. The function may be a gradient;
    the noisy one is not to be differentiated. Everything but float64 is left as it is.

    Args:
        function: The function, of arrays and trees of them; `jax_enable_x64` is on.
        unit_roundoff: The largest relative error of rounding to the precision that is simulated.
        accumulator: The unit roundoff that products and sums are added up with; `unit_roundoff` if none is given.

    Attributes:
        unknown: The names of primitives met, while it was traced, that the noise model does not know: each value of
            theirs erred by one rounding.

    >>> with jax.enable_x64(True):
    ...     third = noisy(lambda x: x / 3, 2.0**-24)
    ...     bool(third(0, jnp.ones(3))[0] == third(1, jnp.ones(3))[0])
    False
    """

    def __init__(self, function: Callable[..., Any], unit_roundoff: float, accumulator: float | None = None) -> None:
        self.function = function
        self.unit_roundoff = unit_roundoff
        self.accumulator = unit_roundoff if accumulator is None else accumulator
        self.unknown: set[str] = set()
        self.traced: dict[Any, tuple[ClosedJaxpr, Any, int]] = {}

    def __call__(self, seed: Any, *args: Any) -> Any:
        """Evaluate the function for `args`, with the errors that `seed` draws."""
        leaves, tree = jax.tree.flatten(args)
        signature = (tree, *((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
        if signature not in self.traced:
            closed, shape = jax.make_jaxpr(self.function, return_shape=True)(*args)
            self.traced[signature] = closed, jax.tree.structure(shape), largest_size(closed.jaxpr)
        closed, results, size = self.traced[signature]
        traced = any(isinstance(value, jax.core.Tracer) for value in (seed, *leaves))
        pool = Pool(*_draw(seed, max(SMALLEST_POOL, 2 * size)))
        if not traced:
            pool = Pool(*(np.asarray(numbers) for numbers in pool))
        errors = Errors(jnp if traced else np, pool, self.unit_roundoff, self.accumulator, self.unknown)
        found = [jnp.asarray(result) for result in evaluate(closed, errors, leaves)]
        return jax.tree.unflatten(results, found)


def noisy(function: Callable[..., Any], unit_roundoff: float, accumulator: float | None = None) -> Noisy:
    """See `Noisy`."""
    return Noisy(function, unit_roundoff, accumulator)


class Pool(NamedTuple):
    """The random numbers of one pass: every array's errors are a stretch of them, begun somewhere else.

    One generator for each array would take XLA longer to compile than all the rest.
    """

    uniform: Any
    normal: Any
    start: Any

    def at(self, place: int) -> "Pool":
        """The numbers of one operation."""
        return self._replace(start=self.start + np.uint64(place * GOLDEN % 2**32))

    def turn(self, step: Any) -> "Pool":
        """The numbers of one turn of a loop."""
        return self._replace(start=(self.start + step + np.uint64(1)) * np.uint64(MULTIPLIER) % np.uint64(2**32))

    def stretch(self, shape: tuple[int, ...], *, normal: bool) -> Any:
        """As many numbers as `shape` holds."""
        numbers, count = self.normal if normal else self.uniform, prod(shape)
        start = self.start % np.uint64(len(numbers) - count + 1)
        if isinstance(numbers, np.ndarray):
            return numbers[int(start) : int(start) + count].reshape(shape)
        return lax.dynamic_slice(numbers, (start,), (count,)).reshape(shape)


@partial(jax.jit, static_argnums=1)
def _draw(seed: Any, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """So many numbers uniform in [-1, 1], as many standard normal ones, and where the first operation's begin."""
    first, second, third = jax.random.split(jax.random.key(seed), 3)
    return (
        jax.random.uniform(first, (size,), jnp.float32, -1, 1),
        jax.random.normal(second, (size,), jnp.float32),
        jax.random.bits(third, (), jnp.uint32).astype(jnp.uint64),
    )


@dataclass
class Errors:
    """Random errors, new ones for each operation in turn.

    They are put in by NumPy, which has nothing to compile, or by JAX where the function is compiled as a whole.
    """

    xp: Any
    pool: Pool
    unit_roundoff: float
    accumulator: float
    unknown: set[str]
    place: int = 0

    @property
    def library(self) -> rules.Library:
        """The functions that the model of sums needs."""
        return rules.Library(self.xp.where, self.xp.maximum, self.xp.floor)

    def next_pool(self) -> Pool:
        """The numbers of the next operation."""
        self.place += 1
        return self.pool.at(self.place)

    def inside(self, step: Any = None) -> "Errors":
        """The errors of a loop, or of one turn of it."""
        return replace(self, pool=self.next_pool() if step is None else self.pool.turn(step), place=0)

    def each(self, y: Any, scale: float = 1.0) -> Any:
        """Values with an error of one operation each."""
        if self.xp.iscomplexobj(y):
            return self.each(y.real, scale) + 1j * self.each(y.imag, scale)
        if y.dtype != np.float64:
            return y
        error = self.next_pool().stretch(y.shape, normal=False).astype(y.dtype)
        return y + rules.largest_error(self.library, y, self.unit_roundoff) * (scale * error)

    def off(self, y: Any, variance: Any) -> Any:
        """Values with normal errors of that variance."""
        deviation = self.xp.nan_to_num(self.xp.sqrt(self.xp.maximum(variance, 0)), nan=0.0, posinf=0.0)
        return y + deviation * self.next_pool().stretch(y.shape, normal=True).astype(y.dtype)

    def rounded_to(self, y: Any) -> Any:
        """A sum that was added up in a wider format, rounded to the one that is simulated."""
        return y if self.accumulator == self.unit_roundoff else self.each(y)


def largest_size(jaxpr: Jaxpr) -> int:
    """The most values that an array of a jaxpr, or of one inside it, has."""
    sizes = [prod(getattr(variable.aval, "shape", ())) for eqn in jaxpr.eqns for variable in eqn.outvars]
    return max([1, *sizes, *(largest_size(inner) for inner in subjaxprs(jaxpr))])


def evaluate(closed: ClosedJaxpr, errors: Errors, args: Sequence[Any]) -> list[Any]:
    """The results of a jaxpr for `args`, each primitive followed by its errors."""
    jaxpr = closed.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        operands = [atom.val if isinstance(atom, Literal) else values[atom] for atom in eqn.invars]
        results = apply(eqn, errors, operands)
        values.update(zip(eqn.outvars, results, strict=True))
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in jaxpr.outvars]


def apply(eqn: JaxprEqn, errors: Errors, operands: list[Any]) -> list[Any]:
    """The results of one primitive with its errors."""
    name = eqn.primitive.name
    if name in CALLS:
        jaxpr = eqn.params[CALLS[name]]
        return evaluate(ClosedJaxpr(jaxpr, ()) if isinstance(jaxpr, Jaxpr) else jaxpr, errors, operands)
    if name in LOOPS:
        return LOOPS[name](eqn, errors, operands)
    doubles = any(variable.aval.dtype in (jnp.float64, jnp.complex128) for variable in eqn.outvars)
    run = partial(_run, eqn, errors)
    if name in rules.JAX_EXACT or not doubles:
        return run(*operands)
    if name in RULES:
        return [RULES[name](eqn, run, errors, operands)]
    if name not in rules.JAX_EACH:
        errors.unknown.add(name)
    return [errors.each(y) for y in run(*operands)]


def _run(eqn: JaxprEqn, errors: Errors, *operands: Any, **changed: Any) -> list[Any]:
    """The primitive's own results."""
    results = eqn.primitive.bind(*operands, **{**eqn.params, **changed})
    results = list(results) if eqn.primitive.multiple_results else [results]
    # Keys of random numbers are no arrays of NumPy's.
    return [
        np.asarray(y) if errors.xp is np and not jnp.issubdtype(y.dtype, jax.dtypes.extended) else y for y in results
    ]


def _scan(eqn: JaxprEqn, errors: Errors, operands: list[Any]) -> list[Any]:
    params, inner = eqn.params, errors.inside()
    first, second = params["num_consts"], params["num_consts"] + params["num_carry"]
    consts, state, rows = operands[:first], operands[first:second], operands[second:]

    def body(carry: tuple[Any, list[Any]], x: list[Any]) -> tuple[tuple[Any, list[Any]], list[Any]]:
        step, state = carry
        results = evaluate(params["jaxpr"], inner.inside(step), [*consts, *state, *x])
        return (step + np.uint64(1), results[: len(state)]), results[len(state) :]

    carry, order = (np.uint64(0), state), range(params["length"])
    if errors.xp is jnp or not order:
        (_, state), stacked = lax.scan(body, carry, rows, len(order), params["reverse"], params["unroll"])
        return [*state, *stacked]
    found = []
    for i in reversed(order) if params["reverse"] else order:
        carry, results = body(carry, [row[i] for row in rows])
        found.append(results)
    if params["reverse"]:
        found.reverse()
    return [*carry[1], *(np.stack(column) for column in zip(*found, strict=True))]


def _while(eqn: JaxprEqn, errors: Errors, operands: list[Any]) -> list[Any]:
    params, inner = eqn.params, errors.inside()
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    consts, body_consts = operands[:first], operands[first:second]

    def goes_on(carry: tuple[Any, list[Any]]) -> Any:
        return jaxpr_as_fun(params["cond_jaxpr"])(*consts, *carry[1])[0]

    def body(carry: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        step, state = carry
        return step + np.uint64(1), evaluate(params["body_jaxpr"], inner.inside(step), [*body_consts, *state])

    carry = (np.uint64(0), operands[second:])
    if errors.xp is jnp:
        return lax.while_loop(goes_on, body, carry)[1]
    while goes_on(carry):
        carry = body(carry)
    return carry[1]


def _cond(eqn: JaxprEqn, errors: Errors, operands: list[Any]) -> list[Any]:
    (index, *rest), inner, closed = operands, errors.inside(), eqn.params["branches"]
    if errors.xp is np:
        return evaluate(closed[int(np.clip(index, 0, len(closed) - 1))], inner, rest)
    return lax.switch(
        index, [lambda *args, branch=branch: evaluate(branch, replace(inner), args) for branch in closed], *rest
    )


LOOPS: dict[str, Callable[[JaxprEqn, Errors, list[Any]], list[Any]]] = {"scan": _scan, "while": _while, "cond": _cond}


Run = Callable[..., list[Any]]
Rule = Callable[[JaxprEqn, Run, Errors, list[Any]], Any]


def _products(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    xp, (y,) = errors.xp, run(*operands)
    largest = [xp.maximum(xp.abs(x).max(initial=0.0), 1e-300) for x in operands]
    squares = [((x / scale) ** 2).astype(np.float32) for x, scale in zip(operands, largest, strict=True)]
    (size,) = run(*squares, preferred_element_type=np.dtype("float32"))
    scale = (errors.accumulator * largest[0] * largest[1]) ** 2 * rules.variance_of_products(_terms(eqn))
    return errors.off(y, xp.maximum(size, 0) * scale + y**2 * (errors.unit_roundoff**2 / 3))


def _terms(eqn: JaxprEqn) -> int:
    """The number of products that each value adds up."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    shape, spec = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"].rhs_spec
    return prod(shape) // max(1, shape[spec[0]])


def _sum(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    (x,), (y,), axes = operands, run(*operands), eqn.params["axes"]
    count = prod(x.shape[axis] for axis in axes)
    if count <= 1 or not y.size:
        return y
    rows = errors.xp.moveaxis(x, axes, range(-len(axes), 0)).reshape(-1, count)
    # XLA adds up what was broadcast in the precision that it has; a jaxpr does not say which sum is of that.
    variance = rules.variance_of_sum(errors.library, rows, errors.unit_roundoff)
    return errors.rounded_to(errors.off(y, variance.reshape(y.shape)))


def _running(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    (y,) = run(*operands)
    if eqn.primitive.name == "cumsum":
        return y + run(errors.each(y) - y)[0]
    uniform = errors.next_pool().stretch(y.shape, normal=False).astype(y.dtype)
    along = {"axis": eqn.params["axis"], "reverse": eqn.params["reverse"]}
    return y * (1 + errors.unit_roundoff * lax.cumsum(uniform, **along))


def _power(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    (y,) = run(*operands)
    return errors.each(y, max(1.0, operands[0].size / max(1, y.size)) ** 0.5)


def _scattered(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    """A sum scattered over places: operands are what is added to, the places, and the terms."""
    base, places, terms = operands
    (y,) = run(base, places, terms)
    (squares,) = run(base**2, places, terms**2)
    (count,) = run((base != 0).astype(base.dtype), places, (terms != 0).astype(base.dtype))
    return errors.off(y, rules.variance_of_scattered(errors.library, y, squares, count, errors.accumulator))


def _selected(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    """A sum of gradients over the windows whose maximum a place was."""
    source, operand = operands
    (y,), (squares,) = run(source, operand), run(source**2, operand)
    (count,) = run((source != 0).astype(source.dtype), operand)
    return errors.off(y, rules.variance_of_scattered(errors.library, y, squares, count, errors.accumulator))


def _window(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    (x,) = operands
    (y,), (squares,), (weight,) = run(x), run(x**2), run(errors.xp.ones_like(x))
    terms = prod(eqn.params["window_dimensions"])
    return errors.off(y, rules.variance_of_average(errors.library, y, squares, weight, terms, errors.accumulator))


def _logistic(eqn: JaxprEqn, run: Run, errors: Errors, operands: list[Any]) -> Any:
    """1 / (1 + exp(-x)) as kernels compute it."""
    xp, (x,) = errors.xp, operands
    # Before exp(-x) is infinite the result is zero anyhow.
    return errors.each(1 / errors.each(1 + errors.each(xp.exp(xp.minimum(-x, 700.0)))))


RULES: dict[str, Rule] = {
    **dict.fromkeys(rules.JAX_PRODUCTS, _products),
    "reduce_sum": _sum,
    "cumsum": _running,
    "cumprod": _running,
    "reduce_prod": _power,
    "scatter-add": _scattered,
    "select_and_scatter_add": _selected,
    "reduce_window_sum": _window,
    "logistic": _logistic,
}
