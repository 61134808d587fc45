"""The tasks that the contract tests run over."""

import pytest

from harness import zoo


@pytest.fixture(params=zoo.TASKS.values(), ids=zoo.TASKS)
def task(request):
    return request.param
