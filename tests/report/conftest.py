"""The fixture of the report's tests."""

from __future__ import annotations

import pytest
from synthetic_run import SyntheticRun


@pytest.fixture
def run(tmp_path):
    """An empty synthetic run."""
    return SyntheticRun(tmp_path / "synthetic")
