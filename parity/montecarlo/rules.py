"""The noise model: how an honest computation errs in each primitive operation, for PyTorch's and JAX's alike.

Nothing here knows an array library: the engines bring their own. The sizes are those of `reference/arithmetic.py`, u
being the unit roundoff of the precision and a that of its accumulator:

- EXACT operations err nowhere: views, copies, comparisons, maxima, indexing, random numbers, integers;
- EACH value of an ordinary operation is off by a uniform error in u * |y| * [-1, 1];
- a sum of n PRODUCTS is off by a normal error of deviation a * sqrt(sum of their squares * max(log2 n, n / 24)) more;
- a SUM of n values by one of deviation a * P * sqrt(m / 3), P being the size of its partial sums and m as how many
  independent roundings its additions count;
- a SCATTERED sum, of which each value adds up its own number of terms, likewise.

What is none of these is taken apart into operations that are, or else unknown: EACH, and named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isqrt, log2
from typing import Any

# XLA adds 442 values of a few channels in order, 4500 in blocks; Paddle's batch norm and PyTorch add in lanes.
BLOCK = 512

# Products of narrow matrices are added up nearly in order: 1000 of a classifier's gradient err four times as much as in
# pairs. Wide ones are added in more lanes, and long ones in blocks.
LANES = 4
LANES_BLOCK = 2048

# Of a constant's running sum half of the steps lie below one power of two, a quarter below the one before, and so on:
# their common errors leave this share of what they were if all of them had one exponent.
SAME_EXPONENT = 1 / 5

# A result errs by no more than so many times its distance to the nearest number that the format holds.
NEAR = 4

# A block's partial sums are looked at this often, and of a long sum so many blocks.
PARTS = 16
BLOCKS = 16

# How many values of a sum are compared with each other, and of all sums of an operation how many pairs.
SAMPLE = 128
PAIRS = 2**20


@dataclass(frozen=True)
class Library:
    """The functions of an array library that the model of sums needs."""

    where: Callable[[Any, Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    floor: Callable[[Any], Any]


def largest_error(library: Library, y: Any, unit: float) -> Any:
    """The most that an operation of result y (float64), one rounding, errs: u * |y|, less where y is nearly held.

    A result that the format holds, as small integers, halves, copies and saturated gates are, makes no error. The
    distance to what the format holds is Dekker's, by splitting. Huge values have none and err in full; infinite do not.
    """
    split = y * (2.0**53 * unit + 1)
    distance = abs(split - (split - y) - y)
    most = library.where(abs(y) < inf, abs(y) * unit, 0.0)
    return library.where(distance * NEAR < most, distance * NEAR, most)


def variance_of_products(terms: int) -> float:
    """The variance of the errors of adding up so many products, over the sum of their squares.

    As if in pairs, or in LANES sums in order side by side where that is more: n values of mean zero added in order err
    with variance n / 6.
    """
    return max(log2(max(2, terms)), min(terms, LANES_BLOCK) / (6 * LANES))


def variance_of_sum(library: Library, rows: Any, unit: float, block: int = BLOCK) -> Any:
    """The variance of the errors of adding up each row of `rows` (r, n) in order within blocks."""
    count = rows.shape[1]
    if count == 1:
        return rows[:, 0] * 0.0
    size = partial_sum_squared(library, rows, block)
    independent = count_independent(library, rows, (size**0.5) * (unit / 2))
    return unit**2 / 3 * size * independent


def partial_sum_squared(library: Library, rows: Any, block: int = BLOCK) -> Any:
    """The mean square of the partial sums of blocks, in the order given or a random one: where it is larger."""
    count = rows.shape[1]
    blocks = -(-count // block)
    length = count // blocks
    mean = rows.mean(1)
    variance = ((rows - mean[:, None]) ** 2).mean(1)
    step = max(1, blocks // BLOCKS)
    given = mean_square_of_partial(rows[:, : blocks * length].reshape(-1, blocks, length)[:, ::step])
    return library.maximum(given, random_partial_sum_squared(mean, variance, length))


def mean_square_of_partial(blocks: Any) -> Any:
    """The mean square of the partial sums, in the order given, of each row's blocks (r, b, n), of which it is (r)."""
    length = blocks.shape[2]
    parts = min(PARTS, length)
    sums = blocks[:, :, : length - length % parts].reshape(*blocks.shape[:2], parts, -1).sum(3)
    partial = sums[:, :, 0]
    squares = partial**2
    for i in range(1, parts):
        partial = partial + sums[:, :, i]
        squares = squares + partial**2
    return squares.mean(1) / parts


def random_partial_sum_squared(mean: Any, variance: Any, count: Any) -> Any:
    """The mean square of the partial sums of `count` values of that mean and variance in a random order."""
    return mean**2 * count**2 / 3 + variance * count / 2


def count_independent(library: Library, rows: Any, width: Any) -> Any:
    """As how many independent errors those of adding up each row count, values within one `width` being the same.

    The sum over a row's values that are not zero of 1 + (k - 1) * SAME_EXPONENT, where k of them are the same. Pairs of
    the same are counted among some of the values, evenly spread.
    """
    count = rows.shape[1]
    chosen = min(count, max(8, min(SAMPLE, isqrt(PAIRS // max(1, len(rows))))))
    sample = rows[:, :: count // chosen][:, :chosen]
    steps = library.floor(sample / library.maximum(width, width * 0 + 1e-300)[:, None])
    same = (steps[:, :, None] == steps[:, None, :]) & (sample != 0)[:, :, None]
    found, nonzero = same.sum((1, 2)), (sample != 0).sum(1)
    pairs = (found - nonzero) * (count * (count - 1) / (chosen * max(1, chosen - 1)))
    return (rows != 0).sum(1) + SAME_EXPONENT * pairs


def variance_of_scattered(library: Library, total: Any, squares: Any, count: Any, unit: float) -> Any:
    """The variance of the errors of sums of `count` values each, from their sums and the sums of their squares."""
    terms = library.maximum(count, count * 0 + 1)
    size = random_partial_sum_squared(
        total / terms, library.maximum(squares / terms - (total / terms) ** 2, 0 * total), terms
    )
    return library.where(count > 1, unit**2 / 3 * size * terms, 0.0)


def variance_of_positions(squares: Any, weight: Any, side: int, unit: float) -> Any:
    """The variance of the errors that rounded positions in a map of that side make in what is resized."""
    return (unit * side) ** 2 / 3 * squares * weight


def variance_of_average(library: Library, mean: Any, squares: Any, weight: Any, terms: float, unit: float) -> Any:
    """The variance of the errors of a linear form of some terms with positive weights, as a pool or a resize is.

    `mean` is the form of the values, `squares` that of their squares, and `weight` that of ones.
    """
    weight = library.maximum(weight, weight * 0 + 1e-300)
    average = mean / weight
    size = random_partial_sum_squared(average, library.maximum(squares / weight - average**2, 0 * mean), terms)
    return unit**2 / 3 * size * (weight / terms) ** 2 * terms


def _names(*groups: str) -> frozenset[str]:
    """The words of all groups."""
    return frozenset(" ".join(groups).split())


# PyTorch's operations by name: without namespace, overload and the underscore of those in place.
TORCH_EXACT = _names(
    # Views and copies.
    """
    _conj _neg_view _reshape_alias _to_copy _unsafe_index _unsafe_view alias alias_copy as_strided as_strided_copy
    as_strided_scatter broadcast_in_dim broadcast_to cat channel_shuffle chunk clone collapse_view complex concat conj
    conj_physical constant_pad_nd contiguous convert_element_type copy copy_strided copy_to detach diag diag_embed
    diagonal diagonal_copy diagonal_scatter expand expand_copy flip imag lift lift_fresh movedim narrow narrow_copy
    native_channel_shuffle permute permute_copy pixel_shuffle pixel_unshuffle real reflection_pad1d reflection_pad2d
    reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape resize
    resize_as roll rot90 select select_backward select_copy select_scatter set slice slice_backward slice_copy
    slice_scatter split split_copy split_dim split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack t t_copy
    tensor_split to transpose transpose_copy tril triu unbind unbind_copy unflatten unfold unfold_copy unsafe_chunk
    unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_copy view view_as_complex view_as_real view_copy view_of
    """,
    # Indexing.
    """
    _unique2 embedding gather im2col index index_copy index_fill index_select masked_fill masked_scatter masked_select
    nonzero one_hot scatter take take_along_dim upsample_nearest1d upsample_nearest2d upsample_nearest3d
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d where
    """,
    # What picks one of its operands, or holds exactly.
    """
    abs adaptive_max_pool2d adaptive_max_pool3d amax amin aminmax argmax argmin argsort ceil clamp clamp_max clamp_min
    copysign cummax cummin equal floor fmax fmin fmod frexp hardtanh hardtanh_backward heaviside kthvalue ldexp max
    max_pool2d_with_indices max_pool3d_with_indices max_unpool2d max_unpool3d maximum median min minimum mode
    nan_to_num nanmedian neg nextafter relu remainder round sgn sign sort threshold threshold_backward topk trunc
    """,
    # What answers yes or no.
    """
    all any count_nonzero eq ge gt isclose isfinite isinf isnan isneginf isposinf le logical_and logical_not logical_or
    logical_xor lt ne searchsorted signbit
    """,
    # What begins with nothing, or draws random numbers.
    """
    _local_scalar_dense arange bernoulli cauchy empty empty_like empty_permuted empty_strided exponential eye fill full
    full_like geometric item log_normal multinomial new_empty new_empty_strided new_full new_ones new_zeros normal ones
    ones_like poisson rand rand_like randint randint_like randn randn_like random randperm scalar_tensor uniform zero
    zeros zeros_like
    """,
)

TORCH_EACH = _names(
    """
    acos acosh add asin asinh atan atan2 atanh cos cosh digamma div divide erf erfc erfinv exp exp2 expm1 hypot i0
    igamma igammac lgamma linspace log log10 log1p log2 logspace mul multiply native_dropout native_dropout_backward
    polar polygamma pow reciprocal rsqrt rsub sin sinh special_bessel_j0 special_bessel_j1 special_erfcx special_i0e
    special_i1 special_i1e special_ndtri special_zeta sqrt square sub subtract tan tanh true_divide
    """,
)

TORCH_PRODUCTS = frozenset({"mm", "bmm", "mv", "dot", "vdot", "convolution", "convolution_backward", "_trilinear"})

TORCH_SUM = frozenset({"sum", "mean"})

# Sums that run along an axis: every value of them is a partial sum.
TORCH_RUNNING = frozenset({"cumsum", "cumprod"})

# Where the terms stand among the arguments, and where what they are added to.
TORCH_SCATTERED: dict[str, tuple[int, int | None]] = {
    "index_put": (2, 0),
    "_index_put_impl": (2, 0),
    "_unsafe_index_put": (2, 0),
    "scatter_add": (3, 0),
    "adaptive_max_pool2d_backward": (0, None),
    "adaptive_max_pool3d_backward": (0, None),
    "max_pool3d_with_indices_backward": (0, None),
    "replication_pad1d_backward": (0, None),
    "replication_pad2d_backward": (0, None),
    "replication_pad3d_backward": (0, None),
    "upsample_nearest1d_backward": (0, None),
    "upsample_nearest2d_backward": (0, None),
    "upsample_nearest3d_backward": (0, None),
    "_upsample_nearest_exact1d_backward": (0, None),
    "_upsample_nearest_exact2d_backward": (0, None),
    "_upsample_nearest_exact3d_backward": (0, None),
}

# Linear forms of their first argument with positive weights.
TORCH_AVERAGE = _names(
    """
    _adaptive_avg_pool2d_backward _adaptive_avg_pool3d _adaptive_avg_pool3d_backward _upsample_bicubic2d_aa
    _upsample_bicubic2d_aa_backward _upsample_bilinear2d_aa _upsample_bilinear2d_aa_backward avg_pool2d
    avg_pool2d_backward avg_pool3d avg_pool3d_backward upsample_bicubic2d_backward upsample_bilinear2d_backward
    upsample_linear1d_backward upsample_trilinear3d_backward
    """,
)

# JAX's primitives.
JAX_EXACT = _names(
    # Copies and indexing.
    """
    bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy copy_p device_put dynamic_slice
    dynamic_update_slice expand_dims gather iota optimization_barrier pad reshape rev scatter select_n slice split
    squeeze tile transpose
    """,
    # What begins with nothing.
    """
    after_all create_token empty empty2
    """,
    # What picks one of its operands, or holds exactly.
    """
    abs and argmax argmin ceil clamp clz complex conj cummax cummin eq eq_to floor ge gt imag is_finite le le_to lt
    lt_to max min ne neg nextafter not or population_count real reduce_and reduce_max reduce_min reduce_or
    reduce_precision reduce_window_max reduce_window_min reduce_xor rem round select_and_gather_add select_and_scatter
    shift_left shift_right_arithmetic shift_right_logical sign sort stop_gradient top_k xor
    """,
    # Random numbers.
    """
    random_bits random_clone random_fold_in random_gamma random_seed random_split random_unwrap random_wrap
    rng_bit_generator rng_uniform threefry2x32
    """,
)

JAX_EACH = _names(
    """
    acos acosh add add_any asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt cos cosh digamma div erf erf_inv erfc
    exp exp2 expm1 igamma igammac integer_pow lgamma log log1p mul polygamma pow regularized_incomplete_beta rsqrt sin
    sinh sqrt square sub tan tanh zeta
    """,
)

JAX_PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
