"""Solving pairs together: parts, warm-up and threads, with work that is easy to follow."""

import threading

import numpy as np
import pytest
import torch

from harness.contracts.data import Obs
from harness.planning.batch_solver import BatchSolver

CPU = torch.device("cpu")


class Doubling:
    """Doubles the pixel of each pair, and notes which pairs it was given and by which thread."""

    def __init__(self):
        self.calls, self.threads = [], set()

    def __call__(self, obs, goal, rows, on_progress):
        self.calls.append(rows.tolist())
        self.threads.add(threading.get_ident())
        on_progress(1.0)
        return 2 * obs.pixels[:, 0]


def pixels(count):
    obs = Obs(torch.arange(count)[:, None])
    return obs, obs, np.arange(count) + 10


@pytest.fixture
def threads_inside():
    """Sets torch's number of threads inside each operation for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_pairs_are_solved_in_parts_after_a_warm_up_on_one():
    work, heard = Doubling(), []
    solver = BatchSolver(work, CPU, pairs_per_solve=4)
    solves = list(solver.solves(*pixels(10), heard.append))
    assert work.calls[0] == [10]  # the warm-up, which reports no progress
    assert work.calls[1:] == [solve.rows.tolist() for solve, _ in solves]
    assert [len(solve.rows) for solve, _ in solves] == [4, 4, 2] and heard == [1.0] * 3
    assert torch.cat([result for _, result in solves]).tolist() == list(range(0, 20, 2))
    assert all(solve.seconds > 0 for solve, _ in solves)
    list(solver.solves(*pixels(3)))
    assert len(work.calls) == 5  # it is warm


def test_threads_solve_a_share_each_and_results_keep_their_order(threads_inside):
    threads_inside(2)
    work, heard = Doubling(), []
    solver = BatchSolver(work, CPU, join=torch.cat, threads=3)
    result, _ = solver.solve(*pixels(7), heard.append)
    assert result.tolist() == list(range(0, 14, 2)) and heard == []
    assert sorted(work.calls[1:]) == [[10, 11, 12], [13, 14], [15, 16]]
    assert threading.get_ident() in work.threads  # of the warm-up
    assert torch.get_num_threads() == 2
    solver.solve(*pixels(1), heard.append)
    assert heard == [1.0]  # one pair is solved in this thread


def test_a_recording_is_made_by_all_of_its_pairs_before_it_is_timed():
    """Two threads would not share a recording, so one solves all pairs."""
    work = Doubling()
    solver = BatchSolver(
        work, CPU, join=torch.cat, threads=2, recording=lambda pairs: min(pairs, 2)
    )
    for count in (1, 3, 4):
        solver.solve(*pixels(count))
    assert [len(rows) for rows in work.calls] == [1, 1, 3, 3, 4]
