"""A small dataset per task, collected once."""

import pytest

from harness.data import collect, episodes
from harness.tasks.toy import Toy
from harness.tasks.two_room import TwoRoom

CONFIG = collect.DataConfig(episodes=70, max_steps=60, image_size=16, seed=1)  # two shards


@pytest.fixture(scope="session", params=[Toy(), TwoRoom()], ids=lambda task: task.spec.name)
def dataset(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return episodes.open_dataset(collect.ensure(request.param, CONFIG, str(root)))
