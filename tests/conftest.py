"""One thread a process (the machine may have two cores), and a folder for datasets."""

import signal

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c():
    """Tests in the background (`nohup ./test.sh &`) begin with SIGINT ignored, and so would all
    that they start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory):
    """Datasets that several tests use; each is collected once."""
    return tmp_path_factory.mktemp("datasets")
