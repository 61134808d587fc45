"""Settings that count in optimizer steps fit the number of steps at every scale.

The table stands in harness/experiment/scales.py: at the end of a training next to nothing is left
of the random weights that an average started from.
"""

import math

import pytest
import tiny
import torch
from torch import nn

from harness import zoo
from harness.experiment.scales import SCALES
from harness.nn import moving_average
from harness.nn.frozen import FrozenConfig
from harness.training import loop

TRAINED = [name for name, method in zoo.METHODS.items() if method.trained]
TASKS = [name for name in zoo.TASKS if name != "toy"]
MOST_LEFT = 0.01
TRAINING_SCALES = [name for name in SCALES if name != "published"]  # there nothing is trained


def trial(method, scale, task):
    """The trial as a user gets it, but for weights that would have to be downloaded or trained."""
    words = [f"scale={scale}"]
    if issubclass(zoo.METHODS[method].config, FrozenConfig):
        words.append(f"method.{method}.weights=random")
    return tiny.spec(method, *words, task=task)


def model(spec):
    """Its model, without memory for the weights."""
    with torch.device("meta"):
        return tiny.model(spec)


def steps(spec, frames):
    """Optimizer steps of its training, at least: half of an episode's longest length is counted."""
    data, block = spec.config.data, zoo.TASKS[spec.task].spec.action_block
    episodes = data.episodes * (1 - data.validation - data.test)
    windows = int(episodes * (data.max_steps / 2 - frames * block))
    return loop.total_steps(spec.config.train, windows)


def shares_left(model, count, monkeypatch):
    """Share of each target network's initial weights that is left after a training of that many
    steps; {} for a model without a target.
    """
    left = {}

    def follow(target, online, rate):
        assert 0 <= rate <= 1
        left[id(target)] = (1 - rate) * left.get(id(target), 1.0)

    monkeypatch.setattr(moving_average, "follow", follow)
    for step in range(count):
        model.after_step(step, count)
        if max(left.values(), default=0.0) < MOST_LEFT / 100:
            break  # it only falls
    return left


@pytest.mark.parametrize("scale", TRAINING_SCALES)
@pytest.mark.parametrize("method", TRAINED)
def test_little_is_left_of_a_targets_initial_weights(method, scale, monkeypatch):
    for task in TASKS:
        spec = trial(method, scale, task)
        network = model(spec)
        left = shares_left(network, steps(spec, network.window_frames), monkeypatch)
        frozen = [n for n, _ in network.named_children() if n.startswith("target_")]
        assert len(left) == len(frozen), "every target network follows by moving_average.follow"
        assert max(left.values(), default=0.0) <= MOST_LEFT, (task, left)
        if not left:
            break


@pytest.mark.parametrize("scale", [scale for scale in TRAINING_SCALES if scale != "tiny"])
@pytest.mark.parametrize("method", TRAINED)
def test_little_is_left_of_batchnorms_initial_statistics(method, scale):
    spec = trial(method, scale, "two_room")
    network = model(spec)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    count = steps(spec, network.window_frames)
    assert all((1 - norm.momentum) ** count <= MOST_LEFT for norm in norms)


@pytest.mark.parametrize("count", [1, 20, 188, 600, 2400, 11_000])
def test_a_short_training_lowers_the_ema_jepas_momentum(count):
    config = tiny.spec("ema_jepa").config.method
    rates = [config.target_rate(step, count) for step in range(count)]
    assert rates == sorted(rates, reverse=True) and rates[0] > 1 - config.momentum_start
    assert math.prod(1 - rate for rate in rates) <= math.exp(-config.turnovers)
    if max(rates) < 1:  # none was cut off
        assert sum(rates) == pytest.approx(config.turnovers)


def test_the_published_momentum_of_the_ema_jepa_is_that_of_long_trainings():
    config, count = tiny.spec("ema_jepa").config.method, 100_000
    momenta = [1 - config.target_rate(step, count) for step in (0, count // 2, count - 1)]
    assert momenta == pytest.approx([0.996, 0.998, 1.0], abs=1e-6)
    starts = [1 - config.target_rate(0, steps) for steps in (600, 2400, 3000, 12_000)]
    assert starts == pytest.approx([0.92, 0.98, 0.984, 0.996])
