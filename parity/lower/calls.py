"""The calls of libraries in a compiled program: products, with the precision that is asked for, and other routines."""

from dataclasses import dataclass

# Full float32 as XLA writes it, a precision for each factor, and as PyTorch's switches have it.
FULL = ("highest,highest", "ieee")


@dataclass(frozen=True)
class Product:
    """A matrix product or a convolution: its name, who computes it, the factors' type, and the precision asked for."""

    name: str
    by: str
    kind: str
    precision: str

    @property
    def is_full(self) -> bool:
        """Whether float32 factors are taken as they are."""
        return self.kind != "f32" or self.precision in FULL


@dataclass(frozen=True)
class Reading:
    """The products of a program, and calls of libraries that this reader knows nothing of."""

    products: tuple[Product, ...]
    unknown: tuple[str, ...]
