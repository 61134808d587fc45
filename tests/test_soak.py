"""What the soak run reports as grown or left: its judgement, on samples made here."""

import soak


def samples(memory, files):
    """One sample for each of 100 trials, with the workers' memory and open files at that time."""
    return [(float(done), done, {"workers": (memory(done), files(done))}) for done in range(101)]


def test_flat_memory_and_handles_pass():
    lines, grown = soak.table(samples(lambda done: 500.0 + done % 3, lambda _: 10), 100)
    assert grown == [] and lines[-1].startswith("| workers | 501, 10 | ")


def test_memory_and_handles_that_grow_with_the_trials_are_found():
    _, grown = soak.table(samples(lambda done: 500.0 + 2 * done, lambda done: done), 100)
    assert grown == ["workers grew from 549 to 690 MiB", "workers opened 70 more files"]
