"""The modules' speed beside those that people would take instead, in each framework.

Every module and two networks, in eval and train mode, eager and compiled, against timm, torchvision and
segmentation_models.pytorch, the modules as a Paddle or Flax user writes them, and paddle.vision's ResNet. Candidates
take turns in one process; a ratio is the median over rounds of two times of the same round. Beside each: the time
below which this machine cannot do it. Then the memory of a training step, each candidate in a process of its own.

The numbers go to FOLDER/benchmarks.json, and from there into the tables and the picture of FOLDER/benchmarks.md, where
the text outside the two marks is kept. A row that is measured again replaces its old numbers, so that a part can be
measured at a time:

    python benchmarks/modules.py --only torch/CBAM --only 'flax/*/train'
    python benchmarks/modules.py --quick --folder /tmp/look
    python benchmarks/modules.py --before ../old-checkout --only SEResNet-50

Nothing else should run meanwhile. All of it takes about an hour on two cores; --quick a quarter of that.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

from measure import EXECUTIONS, MODES, ROWS
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from parity.weights.files import atomic
from parity.workers.code_cache import default_folder

HERE = Path(__file__).parent
PEERS = ("torch==2.14.1", "torchvision==0.29.1", "timm==1.0.31", "segmentation_models_pytorch==0.6.0", "numpy")
# Above this ratio a row counts as slower: 1.00 and what two runs of the same differ by.
NOISE = 1.03
MARKS = ("<!-- written by benchmarks/modules.py -->", "<!-- end of what it writes -->")
HEAD = "# How fast\n\nSee `python benchmarks/modules.py --help` for what is measured, and how.\n"
MINE = ("ours", "before", "folded")
console = Console(stderr=True)


def refuse(message: str) -> NoReturn:
    """Say why it could not run."""
    print(message, file=sys.stderr)
    sys.exit(2)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", help="part of FRAMEWORK/ROW/EXECUTION/MODE, * for anything; again for more"
    )
    parser.add_argument("--rounds", type=int, default=21, help="how often the candidates take turns")
    parser.add_argument("--quick", action="store_true", help="5 rounds, no memory")
    parser.add_argument("--no-memory", action="store_true", help="times alone")
    parser.add_argument(
        "--before", default="", help="another checkout of this project, whose modules take turns with these"
    )
    parser.add_argument(
        "--peers", default="", help="the environment with timm and torchvision; made where there is none"
    )
    parser.add_argument(
        "--folder", type=Path, default=HERE.parent / "docs", help="where benchmarks.md, .json and .png are"
    )
    parser.add_argument("--list", action="store_true", help="print what would be measured")
    parser.add_argument("--write", action="store_true", help="measure nothing; write the page anew from its numbers")
    parser.add_argument("--tiny", action="store_true", help="maps of a few pixels: shows that it works, not how fast")
    return parser.parse_args()


def selected(only: list[str] | None) -> list[str]:
    """The keys FRAMEWORK/ROW/EXECUTION/MODE that are asked for."""
    keys = [f"{f}/{row}/{e}/{mode}" for f in EXECUTIONS for row in ROWS for e in EXECUTIONS[f] for mode in MODES]
    found = [key for key in keys if not only or any(fnmatch(key, f"*{part}*") for part in only)]
    if not found:
        refuse(f"--only {', '.join(only or [])} fits none of {keys[0]} ... {keys[-1]}; --list prints all")
    return found


def environment_of_peers(folder: str) -> str:
    """The interpreter of the environment with the peers, which is made where it is not there."""
    if not folder and not default_folder():
        refuse("there is no home or cache folder for the peers' environment: give --peers FOLDER")
    path = Path(folder or Path(default_folder()) / "peers")
    python = path / "bin" / "python"
    if not (path / "peers-installed").exists() and not (folder and python.exists()):
        console.print(
            f"making {path} with {', '.join(PEERS)}: some minutes, and gigabytes unless pip has a CPU's torch"
        )
        subprocess.run([sys.executable, "-m", "venv", path], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        (path / "peers-installed").touch()
    return str(python)


def child(python: str, script: str, *arguments: str) -> Iterator[Any]:
    """Yield what a script of this folder prints, line of JSON by line; its failure ends the program in its words."""
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore", "GLOG_minloglevel": "2"}
    env |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    with TemporaryFile("w+") as log:
        command = [python, HERE / script, *arguments]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            yield from (json.loads(line) for line in process.stdout or () if line.startswith("{"))
        if process.returncode:
            log.seek(0)
            refuse(f"{script} {' '.join(arguments)} failed:\n{log.read()[-3000:]}")


def measure(keys: list[str], python: str, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Times of keys that share framework and execution; and of training the memory, in each framework's first one."""
    framework, _, execution, _ = keys[0].split("/")
    job = {"framework": framework, "execution": execution, "tiny": options.tiny, "candidate": ""}
    job |= {"before": str(Path(options.before).resolve()) if options.before else ""}
    job |= {"rounds": 5 if options.quick else options.rounds, "rows": [key.split("/")[1::2] for key in keys]}
    for key, found in zip(keys, child(python, "measure.py", json.dumps(job)), strict=True):
        row, mode = key.split("/")[1::2]
        if mode == "train" and execution == EXECUTIONS[framework][0] and not (options.quick or options.no_memory):
            memory = {name: job | {"rows": [[row, mode]], "candidate": name} for name in found["ms"]}
            found["MiB"] = {name: memory_of(python, each) for name, each in memory.items()}
        yield key, found


def memory_of(python: str, job: dict[str, Any]) -> float:
    """MiB of a training step, in a process of its own."""
    [found] = child(python, "measure.py", json.dumps(job))
    return found["MiB"]


def start(key: str) -> tuple[str, str]:
    """The rows that one process measures: a framework and an execution."""
    framework, _, execution, _ = key.split("/")
    return framework, execution


def ratio(entry: dict[str, Any], name: str = "ours") -> tuple[str, list[float]]:
    """The peer of the shortest median, and the quartiles of our times over its."""
    best = min((peer for peer in entry["ms"] if peer not in MINE), key=lambda peer: entry["ms"][peer][1])
    return best, entry["ratio"][name][best]


def shown(quartiles: list[float]) -> str:
    """The median, with the quartiles in brackets; in bold where it is above noise."""
    text = "{1:.2f} ({0:.2f}-{2:.2f})".format(*quartiles)
    return f"**{text}**" if quartiles[1] > NOISE else text


def table(head: str, rows: list[list[str]]) -> str:
    """A table in Markdown."""
    names = head.split(" | ")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def tables(results: dict[str, Any]) -> str:
    """Everything that was measured, as Markdown."""
    entries, text = results["rows"], []
    for framework in EXECUTIONS:
        rows = []
        for start in dict.fromkeys(key.rpartition("/")[0] for key in selected(None)):
            both = [entries.get(f"{start}/{mode}") for mode in MODES]
            if not start.startswith(framework) or not any(both):
                continue
            _, row, execution = start.split("/")
            cells = []
            for mode, entry in zip(MODES, both, strict=True):
                limit = max(results["limits"]["ms"][f"{row}/{mode}"])
                if entry is None:
                    cells += ["", "", "", ""]
                else:
                    best, quartiles = ratio(entry)
                    cells += [f"{entry['ms']['ours'][1]:.3g}", f"{limit:.2g}", best, shown(quartiles)]
            rows.append([row, execution, *cells])
        if rows:
            head = "module | execution" + "".join(f" | {mode}, ms | limit | best peer | ours / peer" for mode in MODES)
            text.append(f"### {framework}\n\n" + table(head, rows))
    folded = []
    for key, entry in entries.items():
        if "folded" in entry["ms"]:
            framework, row, execution, _ = key.split("/")
            cells = [shown(entry["ratio"]["folded"]["ours"]), *reversed(ratio(entry, "folded"))]
            folded.append(
                [framework, row, execution, f"{entry['ms']['folded'][1]:.3g}", cells[0], shown(cells[1]), cells[2]]
            )
    if folded:
        head = "framework | module | execution | folded, ms | folded / ours | folded / peer | best peer"
        text.append("### Folded, eval mode\n\n" + table(head, folded))
    memory = []
    for key, entry in entries.items():
        if "MiB" in entry:
            framework, row, execution, _ = key.split("/")
            peers = {name: size for name, size in entry["MiB"].items() if name not in MINE}
            best = min(peers, key=lambda name: peers[name])
            part = entry["MiB"]["ours"] / peers[best]
            mark = "**" if part > NOISE else ""
            cells = [f"{entry['MiB']['ours']:.0f}", best, f"{peers[best]:.0f}", f"{mark}{part:.2f}{mark}"]
            memory.append([framework, row, execution, *cells])
    if memory:
        head = "framework | module | execution | ours, MiB | best peer | its MiB | ours / peer"
        text.append("### Memory of a training step, over the model and its input\n\n" + table(head, memory))
    before = []
    for key, entry in entries.items():
        if "before" in entry["ms"]:
            best, now = ratio(entry)
            then = entry["ms"]["before"][1] / entry["ms"][best][1]
            before.append([*key.split("/"), f"{then:.2f}", shown(now), shown(entry["ratio"]["ours"]["before"])])
    if before:
        head = "framework | module | execution | mode | before / peer | now / peer | now / before"
        text.append("### Before and after\n\n" + table(head, before))
    return "\n".join(text)


def page(results: dict[str, Any], old: str) -> str:
    """The page with the tables between the two marks."""
    slow = [(key, ratio(entry)[1][1]) for key, entry in results["rows"].items() if ratio(entry)[1][1] > NOISE]
    worst = ", ".join(f"{key} {value:.2f}" for key, value in sorted(slow, key=lambda pair: -pair[1]))
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine["versions"].items()))
    limits = results["limits"]
    text = f"""{MARKS[0]}
Measured on {machine["processor"]}, {machine["cores"]} cores,
copying {limits["bandwidth"] / 1e9:.0f} GB/s (read and written), multiplying {limits["rate"] / 1e9:.0f} GFLOP/s;
{versions}.
Times are medians, ratios medians of ratios within a round with their quartiles, *limit* is what moving the maps once or
the products alone would take.

{len(slow)} of {len(results["rows"])} are above {NOISE}{": " + worst if slow else ""}.

![Ours over the best peer](benchmarks.png)

{tables(results)}{MARKS[1]}
"""
    if MARKS[0] not in old:
        return (old or HEAD) + "\n" + text
    begin, rest = old.split(MARKS[0], 1)
    return begin + text + rest.split(MARKS[1], 1)[-1].lstrip("\n")


def draw(results: dict[str, Any], path: Path) -> None:
    """A point for each ratio, with its quartiles, against the line of equal time."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    frameworks = [name for name in EXECUTIONS if any(key.startswith(name) for key in results["rows"])]
    figure, axes = plt.subplots(1, len(frameworks), figsize=(4 * len(frameworks), 4.2), sharey=True, squeeze=False)
    for axis, framework in zip(axes[0], frameworks, strict=True):
        kinds = [f"{execution}/{mode}" for execution in EXECUTIONS[framework] for mode in MODES]
        for i, kind in enumerate(kinds):
            found = [(j, results["rows"].get(f"{framework}/{row}/{kind}")) for j, row in enumerate(ROWS)]
            points = [(j + 0.08 * (i - len(kinds) / 2), ratio(entry)[1]) for j, entry in found if entry]
            if points:
                y, (low, middle, high) = [p[0] for p in points], zip(*(p[1] for p in points), strict=True)
                spread = [
                    [m - q for m, q in zip(middle, low, strict=True)],
                    [q - m for m, q in zip(middle, high, strict=True)],
                ]
                axis.errorbar(
                    middle,
                    y,
                    xerr=spread,
                    fmt="os"[i % 2],
                    color=f"C{i // 2}",
                    ms=4,
                    lw=1,
                    label=kind.replace("/", ", "),
                )
        axis.axvline(1, color="black", lw=1)
        axis.set(title=framework, xlabel="time, ours / best peer", xlim=(0.3, 1.7))
        axis.legend(fontsize=6, loc="upper right")
    axes[0][0].set_yticks(range(len(ROWS)), list(ROWS))
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def processor() -> str:
    """The processor's name."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return (re.findall(r"model name\s*: (.*)", text) or [platform.processor() or platform.machine()])[0]


def write(results: dict[str, Any], folder: Path) -> None:
    """The numbers, the picture and the page."""
    file = folder / "benchmarks.md"
    with atomic.write_file(folder / "benchmarks.json", force=True) as numbers:
        numbers.write((json.dumps(results, indent=1, sort_keys=True) + "\n").encode())
    draw(results, folder / "benchmarks.png")
    text = page(results, file.read_text() if file.exists() else "")
    with atomic.write_file(file, force=True) as opened:
        opened.write(text.encode())


def main() -> None:
    """Measure what is asked for, and write the page."""
    options = arguments()
    keys = selected(options.only)
    if options.list:
        print("\n".join(keys))
        return
    if options.before and not (Path(options.before) / "torch_impl").is_dir():
        refuse(f"--before must be a checkout of this project: {Path(options.before) / 'torch_impl'} is not there")
    numbers = options.folder / "benchmarks.json"
    options.folder.mkdir(parents=True, exist_ok=True)
    results = json.loads(numbers.read_text()) if numbers.exists() else {"rows": {}, "machine": {"versions": {}}}
    if options.write:
        write(results, options.folder)
        return
    pythons = dict.fromkeys(EXECUTIONS, sys.executable)
    if any(key.startswith("torch") for key in keys):
        pythons["torch"] = environment_of_peers(options.peers)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("the machine's limits", total=len(keys))
        [results["limits"]] = child(pythons["torch"], "limits.py", *(["tiny"] if options.tiny else []))
        results["machine"] |= {"processor": processor(), "cores": len(os.sched_getaffinity(0))}
        for _, group in groupby(sorted(keys, key=start), key=start):
            some = list(group)
            progress.update(task, description=some[0])
            for key, entry in measure(some, pythons[some[0].split("/")[0]], options):
                results["machine"]["versions"] |= entry.pop("versions")
                results["rows"] = {**results["rows"], key: entry}
                write(results, options.folder)  # what is measured stays, whatever comes
                best, quartiles = ratio(entry)
                progress.print(f"{key}: {shown(quartiles)} of {best}")
                progress.advance(task)
    print(options.folder / "benchmarks.md")


if __name__ == "__main__":
    main()
