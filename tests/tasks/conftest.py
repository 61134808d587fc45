"""The tasks that the contract tests run over."""

import pytest

from harness.tasks.toy import Toy
from harness.tasks.two_room import TwoRoom


@pytest.fixture(params=[Toy(), TwoRoom()], ids=lambda task: task.spec.name)
def task(request):
    return request.param
