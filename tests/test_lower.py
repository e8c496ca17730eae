"""Programs compiled for GPUs that are not there: what is read in them, and that each fault is found by its name."""

import json
import os
import tomllib

import pytest
from commands import ROOT, parity

from parity.catalogue import cases
from parity.lower import hlo, judge, ptx, targets
from parity.lower.controls import CONTROLS
from parity.lower.run import Findings, distinct

ENVIRONMENT = ROOT / ".venv-lower" / "parity.toml"
# Flax's compiler is 1.3 GB, PyTorch's 1.7: `make lower` makes their environments.
INSTALLED = sorted(tomllib.loads(ENVIRONMENT.read_text())["python"]) if ENVIRONMENT.is_file() else []
TORCH = ["torch"] if "torch" in INSTALLED else []


def kernel(*lines):
    return (
        ".visible .entry fusion(\n .param .u64 p\n)\n{\n .reg .b32 %r<9>;\n"
        + "".join(f" {x};\n" for x in lines)
        + "}\n"
    )


LOADED = "ld.global.nc.b32 %r1, [%rd1]", "ld.global.b32 %r2, [%rd2]"
VECTOR = (
    "ld.global.v2.b32 { %r9, %r1 }, [ %rd1 + 0 ]",
    "@%p2 ld.global.L1::evict_last.v2.b32 { %r8, %r2 }, [ %rd2 + 0 ]",
)
RECOMPUTED = "fma.rn.f32 %r3, %r1, %r1, %r1"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1}, {%r2}, {%r3}, {%r4}"], "tensor"),
        (["wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32 {%r1}, %rd1, %rd2, 1, 1, 1"], "tensor"),
        (["wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%r1}, %rd1, %rd2, 1, 1, 1"], "tensor"),
        (["tcgen05.mma.cta_group::1.kind::tf32 [%r1], %rd1, %rd2, %r3, %p1"], "tensor"),
        (["mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%rd1}, {%rd2}, {%rd3}, {%rd4}"], ""),
        (["atom.global.add.f32 %r1, [%rd1], %r2"], "atomics"),
        (["@%p1 red.global.add.f32 [%rd1], %r2"], "atomics"),
        (["redux.sync.add.s32 %r1, %r2, -1"], ""),
        ([*LOADED, RECOMPUTED, "setp.eq.f32 %p1, %r3, %r2"], "fused"),
        ([*LOADED, RECOMPUTED, "setp.neu.ftz.f32 %p1, %r2, %r3"], "fused"),
        ([*LOADED, RECOMPUTED, "mov.b32 %r4, %r3", "setp.eq.f32 %p1, %r4, %r2"], "fused"),
        # As Triton has it: several loaded at once, two operations at once, opcodes with hints for the cache.
        ([*VECTOR, RECOMPUTED, "setp.eq.f32 %p1, %r3, %r2"], "fused"),
        (
            [*VECTOR, "fma.rn.f32x2 %rd3, %rd1, %rd1, %rd1", "mov.b64 {%r4, %r5}, %rd3", "setp.eq.f32 %p1, %r5, %r2"],
            "fused",
        ),
        (
            [
                *VECTOR,
                "mul.f32x2 %rd3, %rd1, %rd1",
                "add.f32x2 %rd4, %rd3, %rd1",
                "mov.b64 {%r4, %r5}, %rd4",
                "setp.eq.f32 %p1, %r5, %r2",
            ],
            "fused",
        ),
        ([*VECTOR, RECOMPUTED, "setp.eq.f32 %p1, %r1, %r2"], ""),
        # The assembler may put these two together, and not those that say how they round.
        ([*LOADED, "mul.f32 %r3, %r1, %r1", "add.f32 %r4, %r3, %r1", "setp.eq.f32 %p1, %r4, %r2"], "fused"),
        ([*LOADED, "mul.rn.f32 %r3, %r1, %r1", "add.rn.f32 %r4, %r3, %r1", "setp.eq.f32 %p1, %r4, %r2"], ""),
        # Both sides computed alike, an order and no equality, a constant, and a fused sum behind the comparison.
        ([*LOADED, RECOMPUTED, "fma.rn.f32 %r4, %r2, %r2, %r2", "setp.eq.f32 %p1, %r3, %r4"], ""),
        ([*LOADED, RECOMPUTED, "setp.gt.f32 %p1, %r3, %r2"], ""),
        ([*LOADED, RECOMPUTED, "setp.eq.f32 %p1, %r3, 0f00000000"], ""),
        ([*LOADED, "setp.eq.f32 %p1, %r1, %r2", RECOMPUTED], ""),
    ],
)
def test_a_kernel_is_read_for_what_must_not_be_in_it(lines, fault):
    (found,) = ptx.read(kernel(*lines))
    assert [name for name in ("tensor", "atomics", "fused") if getattr(found, name)] == ([fault] if fault else [])


def test_every_kernel_of_a_file_is_read():
    text = kernel("ret") + kernel("ex2.approx.ftz.f32 %r1, %r2", "div.full.f32 %r1, %r2, %r3").replace(
        "fusion", "second"
    )
    assert [(each.kernel, each.approximate) for each in ptx.read(text)] == [
        ("fusion", ()),
        ("second", ("ex2.approx.ftz.f32", "div.full.f32")),
    ]


CONVOLUTION = (
    "  %conv.1 = (f32[2,8]{1,0}, u8[0]{0}) custom-call(%x, %w), window={size=3x3}, PRECISION"
    'custom_call_target="__cudnn$convForward", backend_config={}'
)


@pytest.mark.parametrize(
    ("line", "full"),
    [
        (CONVOLUTION.replace("PRECISION", "operand_precision={highest,highest}, "), [True]),
        (CONVOLUTION.replace("PRECISION", "operand_precision={highest,highest,default}, "), [True]),
        (CONVOLUTION.replace("PRECISION", "operand_precision={highest,default}, "), [False]),
        (CONVOLUTION.replace("PRECISION", "operand_precision={high,high}, "), [False]),
        (CONVOLUTION.replace("PRECISION", ""), [False]),
        (CONVOLUTION.replace("PRECISION", "").replace("f32", "f64"), [True]),
        ("  ROOT %dot.1 = f32[4,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}", [False]),
        ("  %dot.1 = f32[4]{0} dot(%a, %b), operand_precision={highest,highest}, algorithm=dot_tf32_tf32_f32", [False]),
        ("  %add.1 = f32[4]{0} add(%a, %b)", []),
    ],
)
def test_a_product_is_full_where_both_factors_are_of_highest_precision(line, full):
    assert [product.is_full for product in hlo.read(line).products] == full


def test_a_call_that_nobody_knows_is_named():
    line = '  %call = f32[4]{0} custom-call(%a), custom_call_target="NAME"'
    assert hlo.read(line.replace("NAME", "mystery")).unknown == ("mystery",)
    assert hlo.read(line.replace("NAME", "__cub$DeviceRadixSort")).unknown == ()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_target_says_what_is_asked_of_it(name):
    assert targets.memory(name) > 79 * 2**30
    assert 'platform_name: "CUDA"' in targets.describe(name)


def program(**faults):
    return judge.Program("SE", "flax", "h100", 1, 1, 1, {}, 0.0, faults)


def test_a_control_whose_fault_is_not_found_fails_the_run():
    title = f"{CONTROLS[0].framework} {CONTROLS[0].title}"
    assert not Findings().passed
    assert Findings([program()]).passed
    assert not Findings([program(atomics=["atom"])]).passed
    assert not Findings([program()], {title: [program(atomics=["atom"])]}).passed
    assert Findings([program()], {title: [program(precision=["default"])]}).passed
    assert not Findings([program()], failed={"SE": "no"}).passed


def test_a_program_is_compiled_once_for_cases_that_differ_in_their_values_alone():
    names = [case.name for case in distinct(cases.select(["SE/default", "SE/normal", "SE/trained", "SE/square"]))]
    assert names == ["SE/default", "SE/square"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "h1000"], "--target must be one of h100, a100, b200, got 'h1000'"),
        (["--framework", "paddle"], "--framework must be one of flax, torch, got 'paddle'"),
        (["net.py:build"], "net.py is not there"),
        (["--shape", "2,3"], "--shape is for a factory of yours"),
        (["--case", "SE/1x1"], "is not installed for"),
        (
            ["--case", "SE/1x1", "--framework", "torch"],
            "triton, which compiling torch for a GPU needs, is not installed",
        ),
        ([f"{__file__}:kernel"], "--framework must say whose"),
        ([f"{__file__}:kernel", "--framework", "torch", "--json", __file__], "this command reads it"),
    ],
)
def test_what_cannot_be_compiled_is_one_line_and_exit_2(arguments, words):
    done = parity("lower", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


# Convolutions that a library computes of SpatialAttention, in eval and in train mode. XLA calls two for the gradients;
# PyTorch one for both, and in eval mode the forward pass is compiled once more, without gradients.
PRODUCTS = {"flax": [3, 3], "torch": [3, 2]}


@pytest.mark.parametrize("framework", INSTALLED)
def test_every_fault_is_found_and_a_module_has_none_for_three_devices(framework, tmp_path):
    report, kept = tmp_path / "lower.json", tmp_path / "kept"
    done = parity(
        *("lower", "--config", str(ENVIRONMENT), "--framework", framework, "--case", "SpatialAttention/default"),
        *("--target", "all", "--json", str(report), "--keep", str(kept)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert len(found["controls"]) == 3 * sum(control.framework == framework for control in CONTROLS)
    assert [(each["target"], each["faults"]) for each in found["programs"]] == [
        (target, {}) for target in targets.TARGETS for _ in range(2)
    ]
    assert [each["products"] for each in found["programs"]] == 3 * PRODUCTS[framework]
    assert all(each["kernels"] > 2 and each["memory"] for each in found["programs"])
    assert found["claim"] == "compiled for h100, a100, b200 and read; never executed"
    written = "".join(path.read_text() for path in kept.rglob("*.ptx"))
    assert {line for line in written.splitlines() if line.startswith(".target")} >= {".target sm_90a", ".target sm_80"}


@pytest.mark.parametrize("framework", TORCH)
def test_without_fused_products_and_sums_the_control_that_has_one_is_missed(framework):
    """Inductor's switch for that takes the fault away, so that the command must say that it found none."""
    env = {**os.environ, "TORCHINDUCTOR_EMULATE_PRECISION_CASTS": "1"}
    done = parity("lower", "--controls", "--config", str(ENVIRONMENT), "--framework", framework, env=env)
    assert done.returncode == 1
    missed = [line for line in done.stdout.splitlines() if line.startswith("MISSED")]
    (control,) = [each for each in CONTROLS if (each.framework, each.fault) == (framework, "fma")]
    assert missed == [f"MISSED {control.title} (torch, h100): fma was not found"]


OWN = {
    "flax": """
import jax
import jax.numpy as jnp
from flax import nnx

def build():
    return nnx.Conv(3, 4, (3, 3), padding=1, rngs=nnx.Rngs(0))

def low():
    return lambda a: jnp.matmul(a, a, precision="default"), (jax.ShapeDtypeStruct((64, 64), "float32"),)
""",
    "torch": """
import torch
from torch import nn
from torch.nn import functional as F

def build():
    return nn.Sequential(nn.Conv2d(9, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))

def low():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    return torch.matmul, (torch.zeros(64, 64, requires_grad=True), torch.zeros(64, 64))

def attention():
    return F.scaled_dot_product_attention, tuple(torch.zeros(1, 2, 8, 4) for _ in range(3))

def broken():
    return lambda a: a + 1 if a.sum() > 0 else a, (torch.zeros(3),)
""",
}


def own_program(framework, folder, factory, *options):
    (folder / "own.py").write_text(OWN[framework])
    settings = ["--config", str(ENVIRONMENT), "--framework", framework]
    return parity("lower", f"{folder / 'own.py'}:{factory}", *options, *settings)


@pytest.mark.parametrize("framework", INSTALLED)
def test_a_function_of_ones_own_is_judged_too(framework, tmp_path):
    right = own_program(framework, tmp_path, "build", "--shape", "2,9,8,3")
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = own_program(framework, tmp_path, "low")
    assert wrong.returncode == 1
    assert "a product of float32 in less than full precision" in wrong.stdout


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("attention", "a library's routine that nobody here has judged: scaled_dot_product_attention"),
        ("broken", "FAILED"),
    ],
)
@pytest.mark.parametrize("framework", TORCH)
def test_what_cannot_be_read_is_no_pass(framework, factory, words, tmp_path):
    done = own_program(framework, tmp_path, factory)
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout
