"""Suites on a cluster of three nodes, which loses one of them in the middle of a trial: results and
datasets in a shared folder, and in an object store.
"""

import time

import pytest
import ray_cluster
import s3_server
from pyarrow import fs as pafs

from harness import launch
from harness.records import run_tables, storage
from harness.runtime import supervised
from harness.training.checkpoint import TRAINING

SUITE = ["suite=smoke", "scale=tiny", "device=cpu", "run=r", "methods=random,gcbc", "seeds=2"]
LONG = ["for.gcbc.train.steps=100", "for.gcbc.train.checkpoint_every_s=0"]
PLANNED = ["toy.gcbc.s0", "toy.gcbc.s1", "toy.random.s0"]
PATIENCE_S = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with ray_cluster.running(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def run_and_kill(cluster, words, said, results):
    """Run the suite; once both trainings have a checkpoint, kill one of the nodes beside the head
    that run one (the head has room for one alone). Returns the output.
    """
    killed = False
    with cluster.driver([*SUITE, *LONG, *words], said) as driver:
        began = time.monotonic()
        while driver.poll() is None and time.monotonic() - began < PATIENCE_S:
            node = next((i for i in (1, 2) if cluster.workers(i)), None)
            if not killed and node and checkpoints(results) == 2:
                cluster.kill(node)
                killed = True
            time.sleep(0.1)
        assert driver.poll() == 0, said.read_text()
    assert killed, said.read_text()
    return said.read_text()


def checkpoints(results):
    """How many trainings have left a checkpoint and no end."""
    fs, base = storage.filesystem(results)
    where = pafs.FileSelector(base, recursive=True, allow_not_found=True)
    return sum(info.base_name == TRAINING for info in fs.get_file_info(where))


def check(results, said):
    """Every planned trial has one row, and nothing went unsaid or was said by Ray."""
    table = run_tables.read(storage.join(results, "r")).trial
    assert sorted(table["key"]) == PLANNED and set(table["status"]) == {"ok"}, said
    fs, base = storage.filesystem(results)
    files = fs.get_file_info(pafs.FileSelector(base, recursive=True))
    assert sum(info.base_name == "trial.parquet" for info in files) == len(PLANNED)
    assert not [info.path for info in files if info.base_name.endswith(".part")]
    assert "WARNING" not in said and "Traceback" not in said, said


@pytest.mark.slow
def test_without_the_token_the_message_says_where_it_belongs(cluster, tmp_path):
    words = ["suite=smoke", "scale=tiny", "methods=random", f"results={tmp_path}"]
    words += [f"datasets={tmp_path / 'data'}"]
    (tmp_path / "home").mkdir()
    with cluster.driver(words, tmp_path / "said", HOME=str(tmp_path / "home")) as driver:
        assert driver.wait(PATIENCE_S) == 1
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert last.startswith(f"error: the Ray cluster at {cluster.address} cannot be joined (")
    assert "`ray get-auth-token` prints it there) into ~/.ray/auth_token or RAY_AUTH_TOKEN" in last


def test_an_address_where_nothing_listens_is_said_at_once(tmp_path):
    with pytest.raises(supervised.StartError, match=r"nothing answers at ray.address=127.0.0.1:1 "):
        launch._check_address("127.0.0.1:1")


def test_advice_names_the_token_that_was_used(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert "put that one (`ray get-auth-token` prints it" in launch._not_joined("a:1", "x")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch()
    advice = f"is the token of this cluster in {tmp_path}/.ray/auth_token"
    assert advice in launch._not_joined("a:1", "x")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert "is the token of this cluster in RAY_AUTH_TOKEN, " in launch._not_joined("a:1", "x")


@s3_server.needs_server
def test_a_suite_in_an_object_store_loses_nothing_with_a_node(cluster, tmp_path):
    with s3_server.serving(tmp_path) as query:
        results, data = (f"s3://{s3_server.BUCKET}/{name}?{query}" for name in ("r%20e", "data"))
        words = [f"results={results}", f"datasets={data}"]
        said = run_and_kill(cluster, words, tmp_path / "said", results)
        check(results, said)
        assert said.count("collecting toy: ") == said.count("uploading s3://bucket/data/toy-") == 1
        fs, base = storage.filesystem(data)
        (name,) = {info.base_name for info in fs.get_file_info(pafs.FileSelector(base))}
        copies = [len(list(path.rglob(f"{name}/*.arrow"))) for path in cluster.caches()]
        assert set(copies) <= {0, 1} and sum(copies) >= 2  # of the nodes that ran a trial


@pytest.mark.slow
def test_a_suite_in_a_shared_folder_loses_nothing_with_a_node(cluster, tmp_path):
    words = [f"results={tmp_path / 'r'}", f"datasets={tmp_path / 'data'}"]
    check(str(tmp_path / "r"), run_and_kill(cluster, words, tmp_path / "said", str(tmp_path / "r")))
