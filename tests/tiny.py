"""The start of many tests: trials at tiny scale, their data and their models."""

import torch
from torch import nn

from harness import trial, zoo
from harness.data import collect, normalize
from harness.data.episodes import open_dataset
from harness.data.windows import Windows
from harness.experiment import config, suites


def spec(method, *words, task="toy"):
    """The one trial that these words give."""
    words = ["suite=smoke", "scale=tiny", "device=cpu", f"methods=[{method}]", *words]
    (found,) = suites.expand(config.parse([*words, f"tasks=[{task}]"]), trial.STAGES)
    return found


def together(base, words):
    """The words of a command: those of `base` whose key is not given anew, then `words`."""
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in base if word.partition("=")[0] not in given), *words]


def dataset(spec, root):
    """The trial's dataset, collected under `root` where it is not there yet."""
    return open_dataset(collect.ensure(zoo.TASKS[spec.task], spec.config.data, str(root)))


def model(spec, seed=0):
    """The trial's untrained model."""
    torch.manual_seed(seed)
    dims = zoo.TASKS[spec.task].spec.model_dims(spec.config.data.image_size)
    return zoo.METHODS[spec.method].build(spec.config.method, dims)


def windows(spec, root, frames, split="train", goals=None):
    """The trial's windows of that many frames, and goals where a GoalSampling says so."""
    data = dataset(spec, root)
    block = zoo.TASKS[spec.task].spec.action_block
    return Windows(data, split, frames, block, normalize.fit(data), goals)


def stir(model):
    """Give weights that are zero at the start (AdaLN-zero) a value, so that actions matter."""
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model


def quiet(stage, done, total):
    """A progress callback that says nothing."""
