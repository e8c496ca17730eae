"""`parity run --ray` on a local cluster of two workers, one of which is lost on the way."""

import json
import os

import pytest
from commands import ROOT, parity
from ray.cluster_utils import Cluster

# The first worker process kills the Ray worker that started it, and then itself.
LOSS = """
import os, signal, sys
from pathlib import Path
marker = Path(os.environ.get("PARITY_LOSS", "/dev/null"))
if "parity.workers.worker" in sys.orig_argv and not marker.exists():
    marker.write_text(str(os.getppid()))
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The cluster's address, and the file that is written when a worker is lost."""
    folder = tmp_path_factory.mktemp("loss")
    (folder / "sitecustomize.py").write_text(LOSS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
        patch.setenv("PARITY_LOSS", str(folder / "lost"))
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        nodes.add_node(num_cpus=1)
        yield nodes.address, folder / "lost"
        nodes.shutdown()


def test_a_run_on_ray_survives_a_lost_worker_and_gives_the_verdicts_of_a_local_one(cluster, tmp_path):
    address, lost = cluster
    paths = [tmp_path / "local.json", tmp_path / "ray.json"]
    options = ("--case", "SE/1x1,CBAM/1x1", "--framework", "torch,flax")
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    for path, more, env in zip(paths, ((), ("--ray", address)), (here, None), strict=True):
        done = parity("run", *options, *more, "--json", str(path), env=env)
        assert done.returncode == 0, done.stdout + done.stderr
    assert lost.read_text().isdigit()
    local, remote = (json.loads(path.read_text()) for path in paths)
    # A piece has one core where a local worker has more, and sums in another order: all but the errors is equal.
    for document in (local, remote):
        for result in document["results"]:
            del result["error"]
    assert remote["results"] == local["results"]


def test_an_address_where_no_cluster_is_is_exit_2():
    done = parity("run", "--case", "SE/1x1", "--framework", "flax", "--ray", "127.0.0.1:1")
    assert done.returncode == 2
    assert "no Ray cluster answers at '127.0.0.1:1'" in done.stderr
    assert done.stderr.count("\n") == 1
