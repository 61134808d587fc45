"""What the plan says of the time it takes."""

import tiny

from harness.estimate import Estimator


def test_all_together_take_at_least_as_long_as_the_longest(monkeypatch, tmp_path):
    estimator = Estimator(str(tmp_path))
    specs = [tiny.spec("lewm"), tiny.spec("pldm"), tiny.spec("noop")]
    seconds = {"lewm": 100.0, "pldm": 20.0, "noop": None}
    monkeypatch.setattr(estimator, "seconds", lambda spec: seconds[spec.method])
    assert estimator.total(specs, cores=2) == (100.0, 1)
    assert estimator.total(specs, cores=1) == (120.0, 1)
