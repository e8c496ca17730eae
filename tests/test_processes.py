"""The workers: what they may say and where, how they end, and that none of them outlives the run or leaves a file."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, parity

from parity import protocol
from parity.errors import ParityError
from parity.protocol import Done, Failed, Finished, Ready, Refused
from parity.workers.backend import Backend
from parity.workers.pool import follow, start_all

CASE = ("--case", "SE/1x1", "--framework", "torch")
FACTS = {
    "versions": {"torch": "2"},
    "import_seconds": 1.5,
    "allow_tf32": False,
    "switches": {},
    "device": {"id": "cuda:0", "name": "H100", "memory": 1},
    "devices": ["cuda:0", "cpu"],
    "precisions": dict.fromkeys(("float64", "float32", "bfloat16", "float16"), ""),
    "python": "3.11",
    "precision_probe": {"matmul forward": 1.0},
}


def surroundings(code, folder, **more):
    """An environment in which each worker begins with `code`, and temporary folders are made in `folder`/tmp."""
    (folder / "tmp").mkdir(exist_ok=True)
    text = f"import os, sys\nif 'parity.workers.worker' in sys.orig_argv:\n    channel = int(sys.orig_argv[-3])\n    {code}\n"
    (folder / "sitecustomize.py").write_text(text)
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder / "tmp"), **more}


def is_gone(pid):
    """Whether a process has ended, be it that nobody has asked for its code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def await_that(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    "message",
    [
        Ready(FACTS),
        Refused("no GPU"),
        Failed("SE/1x1", "float32|forward eval", "ValueError: \u2028"),
        Finished("SE/1x1", True),
        Done(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_arrives_as_it_was_sent(message):
    line = protocol.encode(message)
    assert line.count(b"\n") == 1
    assert protocol.decode(line) == message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"\xff\n", "is no JSON"),
        (b"7", "is not one of Ready"),
        (b'{"level": "info"}', "is not one of Ready"),
        (b'{"Done": {}, "Refused": {}}', "is not one of Ready"),
        (b'{"Done": 3}', "Done must be a table, got 3"),
        (b'{"Done": {"x": 1}}', "got 'x'"),
        (b'{"Refused": {}}', "Refused has no why"),
        (b'{"Refused": {"why": ["x"]}}', "Refused.why must be text, got ['x']"),
        (b'{"Finished": {"item": "SE/1x1", "whole": 1}}', "Finished.whole must be true or false, got 1"),
        (
            json.dumps({"Ready": {"facts": {**FACTS, "precision_probe": {"x": 1e999}}}}).encode(),
            "must be a finite number",
        ),
        (json.dumps({"Ready": {"facts": {**FACTS, "device": {"name": "x"}}}}).encode(), "Ready.facts.device has no id"),
    ],
)
def test_what_is_no_message_is_refused(line, words):
    with pytest.raises(ParityError) as error:
        protocol.decode(line)
    assert words in str(error.value)
    assert len(str(error.value)) < 300


def test_no_name_of_a_part_is_lost():
    arrays = {"SE/1x1|weights|fc1.bias": 1, "SE/1x1|weights|fc2.bias": 2, "SE/1x1|input": 3, "SE/1x11|input": 4}
    assert protocol.select(arrays, "SE/1x1", "weights") == {"fc1.bias": 1, "fc2.bias": 2}
    assert protocol.by_first(arrays)["SE/1x11"] == {"input": 4}
    assert protocol.by_task({protocol.join("SE/1x1", "float32", "forward eval", "output"): 1}) == {
        "SE/1x1|float32|forward eval": {"output": 1}
    }


LINES = """
import atexit, json
lines = [{"Refused": {"why": "forged"}}, {"Done": {}}, {"level": "info"}, {"name": "SE/1x1", "finished": True}]
def speak():
    for line in lines:
        for stream in (sys.stdout, sys.stderr):
            print(json.dumps(line), file=stream, flush=True)
        os.write(1, json.dumps(line).encode() + b"\\\\n")
import parity.workers.precision_probe as probe
measure = probe.measure
probe.measure = lambda *given: speak() or measure(*given)
speak()
atexit.register(speak)
"""


def test_a_framework_that_prints_json_disturbs_nothing(tmp_path):
    done = parity("run", *CASE, env=surroundings(f'exec("""{LINES}""")', tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all the same: 1 case, 4 checks" in done.stdout
    assert "forged" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b'{"level": "info"}\n', 'the torch process sent what is no message of a worker: b\'{"level": "info"}'),
        (b'{"Refused": {"why": 3}}\n', "no message of a worker: Refused.why must be text, got 3"),
        (protocol.encode(Failed("SE/1x1", "int8", "x")), "the torch process failed in what it was not given: 'SE/1x1'"),
        (protocol.encode(Finished("CBAM/1x1", True)), "the torch process finished what it was not given: 'CBAM/1x1'"),
    ],
)
def test_what_comes_over_the_channel_and_is_no_message_ends_the_run(sent, words, tmp_path):
    done = parity("run", *CASE, env=surroundings(f"os.write(channel, {sent!r})", tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interpreter_without_numpy_is_one_line_with_the_cure(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = parity("run", *CASE, "--python", f"torch={python}", env=env)
    assert (done.returncode, done.stdout) == (2, "")
    need = f"numpy, which a worker needs, is not installed for {python}"
    assert done.stderr == f"parity: {need}; `{python} -m pip install numpy safetensors` adds it\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\nexit 3\n", "the torch process ended with code 3: its log is empty"),
        ("#!/bin/sh\nexit 0\n", "the torch process ended with code 0"),
        ("#!/nowhere\n", "cannot be started: No such file or directory"),
        ("no program", "cannot be started: Exec format error"),
    ],
)
def test_an_interpreter_that_is_none_is_one_line(script, words, tmp_path):
    (tmp_path / "python").write_text(script)
    (tmp_path / "python").chmod(0o755)
    done = parity("run", *CASE, "--python", f"torch={tmp_path / 'python'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "parity: interrupted\n"),
        (signal.SIGTERM, 143, "parity: stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, "parity: stopped by SIGHUP\n"),
        (signal.SIGKILL, -9, ""),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else "",
)
def test_a_signal_ends_the_workers_and_leaves_nothing(number, code, words, tmp_path):
    """Each worker starts a child that would outlive it, says so, and waits."""
    (tmp_path / "wait.py").write_text(
        "import os, subprocess, time\n"
        "def wait(name, folder, say):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        f"    with open({str(tmp_path)!r} + f'/{{name}}.pids', 'w') as file:\n"
        "        print(os.getpid(), child.pid, file=file)\n"
        "    time.sleep(600)\n"
    )
    env = surroundings("import parity.workers.work, wait; parity.workers.work.work = wait.wait", tmp_path)
    command = [sys.executable, "-m", "parity", "run", "--framework", "torch,paddle"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        files = [tmp_path / "torch.pids", tmp_path / "paddle.pids"]
        assert await_that(lambda: all(path.is_file() and path.read_text().endswith("\n") for path in files))
        pids = [int(pid) for path in files for pid in path.read_text().split()]
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, output, errors) == (code, "", words)
    assert await_that(lambda: all(map(is_gone, pids)), 1.0 if number != signal.SIGKILL else 30.0)
    assert await_that(lambda: not list((tmp_path / "tmp").iterdir()), 0.0 if number != signal.SIGKILL else 5.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_program_is_still_imported(number, tmp_path):
    """Typer takes a second here, so that the signal comes before there is a command line."""
    (tmp_path / "typer.py").write_text("import time; print('on the way', flush=True); time.sleep(30)")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "parity", "list"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert errors.count("\n") == 1
    assert errors.startswith("parity: ")


def test_a_run_that_is_to_ignore_a_closed_terminal_goes_on():
    """As under nohup: the signal stays ignored."""
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); import parity.__main__ as program; "
        "program._catch_signals(); os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "alive\n"


def test_standard_output_that_is_full_or_closed_is_no_traceback():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "parity", "list"], cwd=ROOT, stdout=full, stderr=-1, text=True)
    assert (done.returncode, done.stderr) == (2, "parity: standard output: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "parity", "list"], cwd=ROOT, stdout=writer, stderr=-1, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def limited(size, *arguments, env):
    """The program with no file larger than `size` bytes, as on a disk that has no more room."""
    code = (
        "import resource, runpy, sys; size = int(sys.argv.pop(1)); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); runpy.run_module('parity', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(size), *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("size", "words"),
    [(100, "parity: cannot write to {tmp}: "), (12_000, "parity: the torch process cannot write to {tmp}: ")],
    ids=["inputs", "results"],
)
def test_a_full_temporary_folder_is_one_line(size, words, tmp_path):
    done = limited(size, "run", *CASE, "--check", "forward,gradients", env=surroundings("", tmp_path))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(words.format(tmp=tmp_path / "tmp"))
    assert "TMPDIR" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "tmp").iterdir())


def test_a_mistake_of_the_program_is_one_line_and_not_a_difference(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import parity.catalogue.inputs as m\nm.read_image = lambda path: {}['x\\n']\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = parity("run", *CASE, env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("parity: KeyError: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" in parity("run", *CASE, env={**env, "PARITY_TRACEBACK": "1"}).stderr


def test_a_worker_that_closes_its_channel_and_stays_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("parity.workers.pool.PATIENCE", 0.2)
    env = surroundings("os.close(channel); import time; time.sleep(600)", tmp_path)
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    with (
        pytest.raises(ParityError, match="was killed"),
        start_all([Backend("torch")], {}, {"torch": []}) as (workers, lines),
    ):
        follow(workers, lines, lambda: None)
    assert is_gone(workers[0].process.pid)
