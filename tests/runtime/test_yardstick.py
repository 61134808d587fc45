"""The yardstick of a machine's speed."""

import torch

from harness.runtime import yardstick


def test_it_leaves_torchs_threads_and_random_numbers_as_they_were():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    assert 0 < yardstick.steps_per_cpu_s() < 1e5
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
