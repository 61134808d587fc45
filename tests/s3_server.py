"""A server on this machine that speaks S3: moto's, over HTTP, in memory, a process of its own."""

import contextlib
import importlib.util
import os
import socket
import time

import pytest
import started

needs_server = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None,
    reason="moto and flask are not installed: pip install -e .[test]",
)
BUCKET = "bucket"
CREDENTIALS = {  # in the environment of every client
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",  # where AWS would be asked for other credentials
}


def free_port():
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(folder):
    """The query that URIs (s3://bucket/...) of a fresh server take, with an empty bucket."""
    port = free_port()
    os.environ |= CREDENTIALS
    words = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with started.process(words, folder / "s3_said") as server:
        _wait(server, port, folder / "s3_said")
        from pyarrow import fs

        query = f"endpoint_override=127.0.0.1:{port}&scheme=http"
        store, _ = fs.FileSystem.from_uri(f"s3://{BUCKET}?{query}&allow_bucket_creation=true")
        store.create_dir(BUCKET)
        yield query


def _wait(server, port, said):
    for _ in range(600):
        assert server.poll() is None, said.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer: {said.read_text()}")
