"""The time below which this machine cannot do a row: moving its maps once, or its products at a matrix product's speed.

Usage: python benchmarks/limits.py [tiny]; needs PyTorch.
"""

import json
import sys
import time

import torch
from measure import MODES, ROWS, Row
from torch.utils.flop_counter import FlopCounterMode

import torch_impl


def machine(side: int = 2048) -> tuple[float, float]:
    """Bytes a second that a copy reads and writes, and operations a second of a matrix product: the best of seven."""
    a, b = torch.ones((16 * side, side)), torch.ones((side, side))
    c = torch.zeros_like(a)
    copying, multiplying = [], []
    for _ in range(7):
        start = time.perf_counter()
        c.copy_(a)
        copying.append(time.perf_counter() - start)
        start = time.perf_counter()
        b @ b
        multiplying.append(time.perf_counter() - start)
    return 2 * a.nbytes / min(copying), 2 * side**3 / min(multiplying)


def work(row: Row, mode: str) -> tuple[int, int]:
    """Bytes that any implementation must move, maps and weights once each way, and operations of its products."""
    with torch.device("meta"):
        model = getattr(torch_impl, row.module)(*row.args, **row.options).train(mode == "train")
        x = torch.empty(row.shape, requires_grad=row.shape[1] > 3)
        with FlopCounterMode(display=False) as counter:
            y = model(x)
            if mode == "train":
                y.backward(torch.empty_like(y))
    values = x.numel() + y.numel() + sum(p.numel() for p in model.parameters())
    # A training step reads and writes the gradients of all of them, too.
    return 4 * values * (2 if mode == "train" else 1), counter.get_total_flops()


def main() -> None:
    """Print the limit of each row and mode in milliseconds, and the machine's two speeds."""
    tiny = sys.argv[1:] == ["tiny"]
    bandwidth, rate = machine(256 if tiny else 2048)
    limits = {}
    for name, row in ROWS.items():
        for mode in MODES:
            size, operations = work(row.tiny() if tiny else row, mode)
            limits[f"{name}/{mode}"] = [round(1000 * size / bandwidth, 3), round(1000 * operations / rate, 3)]
    print(json.dumps({"bandwidth": bandwidth, "rate": rate, "ms": limits}))


if __name__ == "__main__":
    main()
