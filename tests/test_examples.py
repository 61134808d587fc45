"""The examples keep the contracts that the package's own methods, tasks and planners keep."""

import numpy as np
import outside_entries
import pytest
import test_contracts
import tiny
from outside_entries import EXAMPLES
from tasks.test_contract import *  # noqa: F403  all of them, over the fixture `task` below
from test_contracts import (  # noqa: F401  over the fixture `case` below
    encoder,
    test_a_few_steps_lower_the_loss,
    test_a_rollout_depends_on_its_plan_from_the_changed_block_on,
    test_both_rollouts_are_repeated_predict,
    test_every_frame_is_encoded_on_its_own,
    test_gradients_reach_every_parameter,
    test_loaded_weights_give_the_saved_models_outputs,
    test_predictions_do_not_see_later_frames,
    test_same_seed_same_weights,
    test_the_loss_is_finite_and_made_of_scalars,
    world,
)

from harness import zoo


@pytest.fixture(scope="module", autouse=True)
def _entries():
    with outside_entries.forgotten():
        for kind in ("method", "task", "planner"):
            zoo.find(kind, f"{EXAMPLES}/my_{kind}.py")
        yield


@pytest.fixture
def case(datasets):
    spec = tiny.spec("my_method")
    model = tiny.stir(tiny.model(spec))
    windows = tiny.windows(spec, datasets, model.window_frames)
    return test_contracts.Case(spec, model, windows.sample(np.random.default_rng(0), 16).batch)


@pytest.fixture
def task():
    return zoo.TASKS["ball"]


def test_the_method_resumes_to_the_same_weights(datasets, tmp_path):
    test_contracts.test_a_resumed_training_ends_with_the_same_weights(
        ["my_method"], datasets, tmp_path
    )


def test_the_planner_descends_a_parabola():
    test_contracts.test_a_planner_descends_a_parabola("my_planner")
