"""Programs compiled for GPUs that are not there: what is read in them, and that each fault is found by its name."""

import json
from pathlib import Path

import pytest
from commands import ROOT, parity

from parity.catalogue import cases
from parity.lower import hlo, judge, ptx, targets
from parity.lower.controls import CONTROLS
from parity.lower.run import Findings, distinct

ENVIRONMENT = ROOT / ".venv-lower" / "parity.toml"
# The compiler is 1.3 GB: `make lower` makes its environment.
INSTALLED = ["flax"] if ENVIRONMENT.is_file() else []


def kernel(*lines):
    return (
        ".visible .entry fusion(\n .param .u64 p\n)\n{\n .reg .b32 %r<9>;\n"
        + "".join(f" {x};\n" for x in lines)
        + "}\n"
    )


LOADED = "ld.global.nc.b32 %r1, [%rd1]", "ld.global.b32 %r2, [%rd2]"
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
        (["--framework", "paddle"], "--framework must be one of flax, got 'paddle'"),
        (["net.py:build"], "net.py is not there"),
        (["--shape", "2,3"], "--shape is for a factory of yours"),
        (["--case", "SE/1x1"], "is not installed for"),
    ],
)
def test_what_cannot_be_compiled_is_one_line_and_exit_2(arguments, words):
    done = parity("lower", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("framework", INSTALLED)
def test_every_fault_is_found_and_a_module_has_none_for_three_devices(framework, tmp_path):
    report = tmp_path / "lower.json"
    done = parity(
        *("lower", "--config", str(ENVIRONMENT), "--framework", framework, "--case", "SpatialAttention/default"),
        *("--target", "all", "--json", str(report)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert len(found["controls"]) == 3 * sum(control.framework == framework for control in CONTROLS)
    assert [(each["target"], each["faults"]) for each in found["programs"]] == [
        (target, {}) for target in targets.TARGETS for _ in range(2)
    ]
    assert all(each["products"] == 3 and each["kernels"] > 2 and each["memory"] for each in found["programs"])
    assert found["claim"] == "compiled for h100, a100, b200 and read; never executed"


OWN = """
import jax
import jax.numpy as jnp
from flax import nnx

def build():
    return nnx.Conv(3, 4, (3, 3), padding=1, rngs=nnx.Rngs(0))

def low():
    return lambda a: jnp.matmul(a, a, precision="default"), (jax.ShapeDtypeStruct((64, 64), "float32"),)
"""


@pytest.mark.parametrize("framework", INSTALLED)
def test_a_function_of_ones_own_is_judged_too(framework, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    settings = ["--config", str(ENVIRONMENT), "--framework", framework]
    own = str(tmp_path / "own.py")
    right = parity("lower", f"{own}:build", "--shape", "2,9,8,3", *settings)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = parity("lower", f"{own}:low", *settings)
    assert wrong.returncode == 1
    assert "a product of float32 in less than full precision" in wrong.stdout
    assert Path(own).is_file()
