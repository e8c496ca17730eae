"""The table of frameworks: all that is known of each without importing it. What it computes is in the file of its name.

A GPU computes float32 products in TF32 by default in one library and not in the next, and adds in whatever order is
fastest; the switches make it honest and the same on every run. They are environment variables, which must stand before
the framework is imported; `set_numerics_flags` of the adapter sets the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..catalogue.tasks import Abilities


@dataclass(frozen=True)
class Framework:
    """One framework.

    Attributes:
        name: Its name, and that of its adapter, `parity.frameworks.NAME`.
        packages: What must be importable.
        pip: What pip installs for the processor.
        pip_gpu: What pip installs for a GPU; `{package}` stands for a version of constraints.txt.
        pip_lower: What pip installs besides, to compile for a GPU by NVIDIA where there is none.
        label: The word for it in the metadata of `.safetensors`, as its own library writes it.
        abilities: What it can compute.
        switches: The variables of honest arithmetic; on a processor they change nothing.
        tf32: What `--allow-tf32` has instead; an empty value takes the variable away.
    """

    name: str
    packages: tuple[str, ...]
    pip: tuple[str, ...]
    pip_gpu: tuple[str, ...]
    label: str
    abilities: Abilities
    pip_lower: tuple[str, ...] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    tf32: Mapping[str, str] = field(default_factory=dict)


TABLE: Mapping[str, Framework] = {
    row.name: row
    for row in (
        Framework(
            "torch",
            packages=("torch",),
            pip=("torch",),
            pip_gpu=("torch",),
            label="pt",
            abilities=Abilities(("eager", "torch.compile", "torch.export", "channels-last", "folded")),
            # It compiles what Inductor generates, to PTX.
            pip_lower=("triton=={triton}",),
            switches={"NVIDIA_TF32_OVERRIDE": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
            tf32={"NVIDIA_TF32_OVERRIDE": ""},
        ),
        Framework(
            "paddle",
            packages=("paddle",),
            pip=("paddlepaddle",),
            pip_gpu=(
                "paddlepaddle-gpu=={paddlepaddle}",
                "-i",
                "https://www.paddlepaddle.org.cn/packages/stable/cu126/",
            ),
            label="pd",
            abilities=Abilities(("eager", "paddle.jit.to_static", "folded")),
            switches={
                "NVIDIA_TF32_OVERRIDE": "0",
                "FLAGS_cudnn_allow_tf32": "0",
                "FLAGS_cublas_allow_tf32": "0",
                "FLAGS_cudnn_deterministic": "1",
                "FLAGS_allocator_strategy": "auto_growth",
            },
            tf32={"NVIDIA_TF32_OVERRIDE": "", "FLAGS_cudnn_allow_tf32": "1", "FLAGS_cublas_allow_tf32": "1"},
        ),
        Framework(
            "flax",
            packages=("jax", "flax"),
            pip=("jax", "flax"),
            pip_gpu=("jax[cuda13]", "flax"),
            label="flax",
            abilities=Abilities(("eager", "nnx.jit", "folded"), programs=True),
            # The plug-in compiles to PTX; the assembler and CUDA's own functions come with the third.
            pip_lower=("jax-cuda12-plugin=={jax}", "jax-cuda12-pjrt=={jax}", "nvidia-cuda-nvcc-cu12"),
            switches={
                "NVIDIA_TF32_OVERRIDE": "0",
                "JAX_DEFAULT_MATMUL_PRECISION": "highest",
                "JAX_ENABLE_X64": "1",
                "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0",
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            },
            tf32={"NVIDIA_TF32_OVERRIDE": "", "JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32"},
        ),
        # It runs what torch_impl exports: a column of the table of results, and no framework of weights.
        Framework(
            "onnx",
            packages=("torch", "onnx", "onnxruntime"),
            pip=(),
            pip_gpu=(),
            label="",
            abilities=Abilities(("eager",), checks=("forward",), modes=("eval",), dtypes=("float32",)),
        ),
    )
}
# What `parity run` compares, and those of them that have weights of their own.
COLUMNS = tuple(TABLE)
FRAMEWORKS = tuple(name for name, row in TABLE.items() if row.label)
# How frameworks execute.
EXECUTIONS = tuple(dict.fromkeys(name for row in TABLE.values() for name in row.abilities.executions))
