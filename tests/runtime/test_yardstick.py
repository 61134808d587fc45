"""The yardstick of a machine's speed."""

import subprocess
import sys

import torch

from harness.runtime import yardstick

SHORT = """
import resource
from harness.runtime import yardstick
assert yardstick.steps_per_cpu_s() > 0
yardstick._measured.cache_clear()
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now, now))
held = []
try:
    while True:
        held.append(bytearray(2**16))
except MemoryError:
    del held[:4]
print(yardstick.steps_per_cpu_s())
"""


def test_it_leaves_torchs_threads_and_random_numbers_as_they_were():
    yardstick._measured.cache_clear()
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    assert 0 < yardstick.steps_per_cpu_s() < 1e5
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_it_is_measured_once_a_minute(monkeypatch):
    calls = []

    def taken():
        calls.append(None)
        return [1.0 / len(calls)] * yardstick._STEPS

    def at(now):
        with monkeypatch.context() as patch:
            patch.setattr(yardstick, "_taken", taken)
            patch.setattr(yardstick.time, "monotonic", lambda: now)
            return yardstick.steps_per_cpu_s()

    yardstick._measured.cache_clear()
    found = [at(600.0), at(659.0), at(660.0)]
    yardstick._measured.cache_clear()  # those were not this machine's
    assert found == [1.0, 1.0, 2.0]


def test_it_measures_nothing_where_memory_is_short():
    ended = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True)
    assert (ended.stdout, ended.returncode) == ("0.0\n", 0), ended.stderr
