"""Negative controls: programs with a fault in them, which must be found by its name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Control:
    """A program that is wrong on purpose: what was done, in which framework, and the fault that must be found."""

    framework: str
    name: str
    title: str
    fault: str


CONTROLS = (
    Control("flax", "tf32", "SE_ASPP with TF32 left on", "precision"),
    Control("flax", "product", "a matrix product in default precision", "tensor cores"),
    Control("flax", "atomics", "a scattered sum without deterministic operations", "atomics"),
    Control("flax", "fma", "a maximum that is compared with its input computed anew", "fma"),
    Control("flax", "memory", "an array larger than the device", "memory"),
    Control("torch", "tf32", "SE_ASPP with TF32 left on", "precision"),
    Control("torch", "product", "a generated matrix product with TF32 left on", "tensor cores"),
    Control("torch", "atomics", "a scattered sum without deterministic algorithms", "atomics"),
    Control("torch", "fma", "a maximum that is compared with its input computed anew", "fma"),
    Control("torch", "memory", "an array larger than the device", "memory"),
)
