"""`parity doctor`."""

import json as json_format
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..workers.doctor import Finding, examine
from .options import PATIENCE, AllowTF32, Config, Devices, Frameworks, Pythons, Timeout, choose_backends
from .terminal import console as console_for


def doctor(
    framework: Frameworks = None,
    device: Devices = None,
    python: Pythons = None,
    config: Config = None,
    allow_tf32: AllowTF32 = False,
    timeout: Timeout = PATIENCE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and no table.")] = False,
) -> None:
    """Show what each framework would run on, and if it would.

    Exit code 0: a run would work; 1: it would not.

    \b
    parity doctor --config envs/parity.toml --device gpu
    """
    backends, missing = choose_backends(framework, device, python, config, allow_tf32=allow_tf32)
    findings = [examine(backend, timeout) for backend in backends]
    passed = not any(finding.why for finding in findings)
    if json:
        found = {finding.backend.framework: _to_json(finding) for finding in findings}
        typer.echo(json_format.dumps({"passed": passed, "backends": found, "missing": missing}, indent=2))
    else:
        _print(findings, missing, console_for())
    raise typer.Exit(0 if passed else 1)


def _to_json(finding: Finding) -> dict[str, Any]:
    start = {"interpreter": finding.backend.python, "seconds": round(finding.seconds, 3), "why": finding.why}
    return {**start, **finding.facts}


def _print(findings: Sequence[Finding], missing: Sequence[str], console: Console) -> None:
    for finding in findings:
        table = Table(box=box.SIMPLE, show_header=False, title=finding.backend.framework, title_justify="left")
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in _rows(finding):
            table.add_row(name, Text(value))
        console.print(table)
    for name in missing:
        console.print(Text(f"{name} is not installed here, and --python names no interpreter that has it", "yellow"))


def _rows(finding: Finding) -> list[tuple[str, str]]:
    facts = finding.facts
    rows = [("interpreter", f"{finding.backend.python} ({facts.get('python', 'not reached')})")]
    if facts:
        device: Mapping[str, Any] = facts["device"]
        memory = device.get("memory", 0)
        details = [str(value) for key, value in device.items() if key not in ("id", "memory") and value]
        rows += [
            ("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
            ("devices", ", ".join(facts["devices"])),
            ("chosen", ", ".join([device["id"], *details, *([f"{memory / 2**30:.1f} GiB"] if memory else [])])),
            *((dtype, why or "yes") for dtype, why in facts["precisions"].items()),
            ("switches", "\n".join(f"{name}={value}" for name, value in facts["switches"].items())),
            ("products", ", ".join(f"{name} {units:.2g} u" for name, units in facts["precision_probe"].items())),
        ]
    rows += [("start", f"{finding.seconds:.1f} s"), ("a run", finding.why or "would work")]
    return rows
