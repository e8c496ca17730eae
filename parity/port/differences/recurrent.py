"""Known differences of LSTMs and GRUs."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

# mypy: disable-error-code="misc"
# Its inference gives up on a lambda that binds a loop's variable.
import torch
from torch import Tensor

from .change import Change, Changes, Hints


def lstm(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Gate order, biases and direction of an LSTM."""
    x, state, weights, biased, *rest = args
    names = "ifgo"
    batch_first = rest[-1]
    axis = 1 if batch_first else 0

    def run(change: Callable[[Tensor], Tensor]) -> Any:
        return func(x, state, [change(w) for w in weights], biased, *rest)

    for order in permutations(range(4)):
        if order != (0, 1, 2, 3):
            yield Change(
                "the order of the gates",
                names,
                "".join(names[i] for i in order),
                ("lstm", "rnn"),
                lambda o=order: run(lambda w: torch.cat([w.chunk(4, 0)[i] for i in o])),
            )
    yield Change(
        "the direction",
        "forward",
        "backward",
        ("reverse", "lstm", "rnn"),
        lambda: (
            func(x.flip(axis), state, weights, biased, *rest)[0].flip(axis),
            *func(x.flip(axis), state, weights, biased, *rest)[1:],
        ),
    )
    layers, both_ways = rest[0], rest[3]
    if both_ways:
        yield from _directions(func, x, state, weights, biased, layers, batch_first, ("bidirectional", "lstm", "rnn"))
    if biased:
        more = [w + (torch.arange(len(w)) // (len(w) // 4) == 1) if i % 4 == 2 else w for i, w in enumerate(weights)]
        yield Change(
            "the forget gate's bias", "as it is", "1 more", ("lstm", "rnn"), lambda: func(x, state, more, biased, *rest)
        )
        for which, text in ((2, "without the input's bias"), (3, "without the state's bias")):
            yield Change(
                "the biases",
                "both added",
                text,
                ("bias", "lstm", "rnn"),
                lambda k=which: func(
                    x, state, [torch.zeros_like(w) if i % 4 == k else w for i, w in enumerate(weights)], biased, *rest
                ),
            )


def _directions(
    func: Any, x: Tensor, state: Any, weights: Any, biased: bool, layers: int, batch_first: bool, words: tuple[str, ...]
) -> Changes:
    for text, order, turn in (("first the backward one", -1, True), ("the backward one not turned back", 1, False)):
        yield Change(
            "the directions",
            "forward and backward",
            text,
            words,
            lambda o=order, t=turn: _both_ways(func, x, state, weights, biased, layers, batch_first, o, t),
        )


def _both_ways(
    func: Any, x: Tensor, state: Any, weights: Any, biased: bool, layers: int, batch_first: bool, order: int, turn: bool
) -> Any:
    """The layers one by one, the two directions joined in that order, the backward one turned back or not."""
    each, axis = 4 if biased else 2, 1 if batch_first else 0
    last: list[Any] = []
    for k in range(layers):
        halves = []
        for way in (0, 1):
            i = 2 * k + way
            start = [s[i : i + 1] for s in state] if isinstance(state, list | tuple) else state[i : i + 1]
            given = x.flip(axis) if way else x
            y, *h = func(given, start, weights[each * i : each * (i + 1)], biased, 1, 0.0, False, False, batch_first)
            halves.append(y.flip(axis) if way and turn else y)
            last.append(h)
        x = torch.cat(halves[::order], -1)
    return (x, *(torch.cat(parts) for parts in zip(*last, strict=True)))


def gru(func: Any, args: Any, kwargs: Any, hints: Hints) -> Changes:
    """Gate order, directions and meaning of a GRU's update gate."""
    x, state, weights, biased, layers, dropout, train, both_ways, batch_first = args
    rest = (biased, layers, dropout, train, both_ways, batch_first)
    words = ("gru", "rnn")
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            yield Change(
                "the order of the gates",
                "rzn",
                "".join("rzn"[i] for i in order),
                words,
                lambda o=order: func(x, state, [torch.cat([w.chunk(3, 0)[i] for i in o]) for w in weights], *rest),
            )
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=x.dtype)
    other = [torch.cat([sign * part for sign, part in zip(signs, w.chunk(3, 0), strict=True)]) for w in weights]
    yield Change("the update gate", "of the old state", "of the new", words, lambda: func(x, state, other, *rest))
    if both_ways:
        yield from _directions(func, x, state, weights, biased, layers, batch_first, words)
