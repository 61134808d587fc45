"""The measured ceiling of a CPU."""

import torch

from harness.bench import ceiling


def test_the_ceiling_is_that_of_the_threads_asked_for_and_restores_the_others(monkeypatch):
    used = []
    product_s = ceiling._product_s

    def timed(dtype):
        used.append(torch.get_num_threads())
        return product_s(dtype)

    monkeypatch.setattr(ceiling, "_product_s", timed)
    monkeypatch.setattr(ceiling, "_PRODUCTS", 3)
    before = torch.get_num_threads()
    rates = ceiling.measure(before + 1)
    assert set(rates) == {"fp32", "bf16"} and set(used) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_rate_is_the_operations_of_a_product_over_its_time(monkeypatch):
    monkeypatch.setattr(ceiling, "_product_s", lambda dtype: 0.5)
    assert ceiling.measure(1) == {"fp32": 4 * ceiling.SIZE**3, "bf16": 4 * ceiling.SIZE**3}
