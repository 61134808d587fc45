"""Episodes with known outcomes: scripted policies on the toy task (0.04 a step, success < 0.1)."""

import dataclasses

import numpy as np
import pytest
import tiny

from harness import zoo
from harness.contracts.data import Pair
from harness.contracts.method import Decision, Solve
from harness.data.normalize import Normalizer
from harness.evaluate import control
from harness.experiment.protocols import ProtocolConfig

TASK = zoo.TASKS["toy"]
ONE = np.ones(2, np.float32)
NORMALIZER = Normalizer(0 * ONE, ONE, 0 * ONE, ONE)
EVER = ProtocolConfig(budget_steps=30)
END = dataclasses.replace(EVER, success_at="end")


def pair(start, goal, number=0):
    """A pair without a recording."""
    picture = np.zeros((3, 8, 8), np.uint8)
    start, goal = np.array([start, 0.5]), np.array([goal, 0.5])
    actions = np.zeros((25, 2), np.float32)
    return Pair(number, 0, 0, start, goal, picture, np.float32(goal), actions, "all", False)


PASSES, SOLVED, AWAY = pair(0.1, 0.5), pair(0.52, 0.5, 1), pair(0.9, 0.5, 2)


class Right:
    """One step to the right after another (contracts.StatePolicy)."""

    def reset(self, pairs):
        self.steps = np.zeros(len(pairs), int)

    def act_state(self, state, goal, rows):
        self.steps[rows] += 1
        return np.tile([1.0, 0.0], (len(rows), 1))


class RightInBlocks:
    """The same, five steps at a time and planned every second block (contracts.Policy)."""

    def reset(self, pairs, on_progress):
        self.seen = []

    def act(self, obs, goal, rows):
        assert obs.pixels.shape == (len(rows), 1, 3, 8, 8) and obs.proprio.shape[:2] == (
            len(rows),
            1,
        )
        self.seen.append((rows.tolist(), obs.proprio[:, 0, 0].tolist()))
        solves = (Solve(rows, 0.25),) if len(self.seen) % 2 else ()
        return Decision(np.tile([1.0, 0.0], (len(rows), 5)), solves)


POLICIES = [Right, RightInBlocks]


def run(policy, settings, *chosen):
    return control.run(policy, TASK, chosen, settings, NORMALIZER, 8, tiny.quiet)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_episode_stops_at_its_first_hit_where_success_is_ever(policy):
    (outcome,) = run(policy(), EVER, PASSES)
    assert outcome.first_hit_step == 8  # 0.1 + 8 * 0.04 = 0.42
    assert outcome.success_ever and outcome.success_final
    assert outcome.dist_init == pytest.approx(0.4)
    assert outcome.dist_min == outcome.dist_final == pytest.approx(0.08)


@pytest.mark.parametrize("policy", POLICIES)
def test_it_runs_through_its_budget_where_success_is_at_the_end(policy):
    (outcome,) = run(policy(), END, PASSES)
    assert outcome.first_hit_step == 8 and outcome.success_ever
    assert not outcome.success_final  # it went on to the wall at 1
    assert outcome.dist_min == pytest.approx(0, abs=1e-12)
    assert outcome.dist_final == pytest.approx(0.5)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_budget_ends_in_the_midst_of_a_block(policy):
    short = dataclasses.replace(END, budget_steps=12)
    (outcome,) = run(policy(), short, PASSES)
    assert outcome.dist_final == pytest.approx(0.1 + 12 * 0.04 - 0.5) and outcome.success_final
    (outcome,) = run(policy(), dataclasses.replace(EVER, budget_steps=7), PASSES)
    assert outcome.first_hit_step == -1 and not outcome.success_ever
    assert outcome.dist_final == pytest.approx(0.12)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("settings", "final"), [(EVER, True), (END, False)])
def test_a_pair_that_is_solved_at_the_start_is_a_hit_at_step_0(policy, settings, final):
    (outcome,) = run(policy(), settings, SOLVED)
    assert outcome.first_hit_step == 0 and outcome.success_ever
    assert outcome.success_final == final
    assert outcome.dist_init == outcome.dist_min == pytest.approx(0.02)
    assert (outcome.env_s == 0) == final  # under "ever" nothing is done


@pytest.mark.parametrize("policy", POLICIES)
def test_a_goal_that_is_never_reached(policy):
    (outcome,) = run(policy(), EVER, AWAY)
    assert outcome.first_hit_step == -1
    assert not outcome.success_ever and not outcome.success_final
    assert outcome.dist_min == outcome.dist_init == pytest.approx(0.4)
    assert outcome.dist_final == pytest.approx(0.5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("settings", [EVER, END])
def test_pairs_beside_one_another_keep_their_outcomes(policy, settings):
    chosen = (PASSES, SOLVED, AWAY)
    together = run(policy(), settings, *chosen)
    for beside, one in zip(together, chosen, strict=True):
        (alone,) = run(policy(), settings, one)
        for name in ("dist_init", "first_hit_step", "dist_min", "dist_final", "success_final"):
            assert getattr(beside, name) == getattr(alone, name)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (EVER, [0, 5, 8]),  # the hit is inside a block
        (dataclasses.replace(END, budget_steps=12), [0, 5, 10, 12]),  # so is the budget's end
        (dataclasses.replace(END, budget_steps=10), [0, 5, 10]),
    ],
)
def test_the_path_has_the_start_every_block_and_the_stop(policy, settings, steps):
    passes, away = run(policy(), settings, PASSES, AWAY)
    assert np.stack(passes.path) == pytest.approx(np.array([[0.1 + 0.04 * s, 0.5] for s in steps]))
    assert passes.steps == steps[-1] and away.steps == settings.budget_steps


@pytest.mark.parametrize("policy", POLICIES)
def test_the_path_of_a_pair_solved_at_the_start_is_its_start(policy):
    solved, _ = run(policy(), EVER, SOLVED, PASSES)
    assert np.stack(solved.path).tolist() == [[0.52, 0.5]] and solved.steps == 0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("hold", "hit"), [(1, 8), (3, 10), (5, 12), (6, -1)])
def test_a_goal_is_reached_when_it_was_held(policy, hold, hit):
    """It is near enough after 8, 9, 10, 11 and 12 steps."""
    (outcome,) = run(policy(), dataclasses.replace(EVER, hold_steps=hold), PASSES)
    assert outcome.first_hit_step == hit and outcome.success_ever == (hit >= 0)
    assert outcome.steps == (hit if hit >= 0 else 30)


@pytest.mark.parametrize(("budget", "final"), [(9, False), (10, True), (12, True), (13, False)])
def test_a_hold_at_the_end_ends_with_the_last_step(budget, final):
    settings = dataclasses.replace(END, hold_steps=3, budget_steps=budget)
    (outcome,) = run(Right(), settings, PASSES)
    assert outcome.success_final == final and outcome.success_ever == (budget >= 10)


class Turns(Right):
    """Goes right, but to the left in its ninth step."""

    def act_state(self, state, goal, rows):
        action = super().act_state(state, goal, rows)
        return np.where(self.steps[rows, None] == 9, -action, action)


def test_a_hold_that_is_broken_starts_anew():
    """It is near enough after step 8, then after steps 10, 11 and 12."""
    (outcome,) = run(Turns(), dataclasses.replace(EVER, hold_steps=2), PASSES)
    assert outcome.first_hit_step == 11


def test_the_start_counts_to_a_hold():
    (outcome,) = run(Right(), dataclasses.replace(EVER, hold_steps=2), SOLVED)
    assert outcome.first_hit_step == 1


WALL = zoo.TASKS["two_room"]


@pytest.mark.parametrize(
    ("task", "physics", "solved", "illegal"),
    [
        (WALL, "released", True, True),  # over the edge of the door, which the released code allows
        (WALL, "corrected", False, True),  # the same way, which does not count
        (WALL.corrected(), "corrected", False, False),  # it is stopped
    ],
)
def test_a_way_through_the_wall_counts_under_released_physics_alone(task, physics, solved, illegal):
    start, goal = np.array([90.0, 64.0]), np.array([140.0, 64.0])
    picture, actions = np.zeros((3, 8, 8), np.uint8), np.zeros((25, 2), np.float32)
    over = Pair(0, 0, 0, start, goal, picture, np.float32(goal), actions, "through door", False)
    settings = ProtocolConfig(budget_steps=30, physics=physics)
    (outcome,) = control.run(Straight(task), task, [over], settings, None, 8, tiny.quiet)
    assert outcome.success_ever == solved and (outcome.illegal_steps > 0) == illegal
    (row,) = control.episode_rows("a.b.s0", [over], [outcome], settings, 0, 1)
    assert row.illegal_steps == outcome.illegal_steps and row.success == solved


class Straight:
    """The task's heuristic (contracts.StatePolicy)."""

    def __init__(self, task):
        self.task = task

    def reset(self, pairs):
        pass

    def act_state(self, state, goal, rows):
        return self.task.heuristic(state, goal)


def test_only_running_pairs_are_observed_and_their_solves_noted():
    policy = RightInBlocks()
    passes, solved, away = run(policy, EVER, PASSES, SOLVED, AWAY)
    assert [rows for rows, _ in policy.seen] == [[0, 2]] * 2 + [[2]] * 4
    assert policy.seen[1][1] == pytest.approx([0.3, 1.0])
    assert (passes.solve_s, passes.pairs_per_solve) == ([0.25], [2])
    assert (solved.solve_s, solved.render_s) == ([], 0)
    assert (away.solve_s, away.pairs_per_solve) == ([0.25] * 3, [2, 1, 1])
    assert away.render_s > 0 and away.env_s > 0


def test_a_state_policy_acts_once_a_step():
    policy = Right()
    run(policy, EVER, PASSES, SOLVED, AWAY)
    assert policy.steps.tolist() == [8, 0, 30]
