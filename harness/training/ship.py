"""python -m harness.training.ship FOLDER: store an encoder as the one of weights=shipped.

FOLDER is an encoder that weights=mae has trained, datasets/mae-<hash>. COMMANDS makes the stored
one again: an autoencoder of the frames of four tasks, which sees no states, actions or labels.
Another encoder gives other outcomes: raise the `version` of the methods that read it.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence

import safetensors
from safetensors.torch import load_file, save

from harness.nn import frozen
from harness.runtime import command
from harness.training.pretraining import MANIFEST

COMMANDS = (
    "python -m harness.run suite=quick scale=laptop protocol=quick device=cpu tasks=two_room "
    "methods=dino_wm method.dino_wm.weights=mae method.dino_wm.mae.mask_ratio=0 "
    "method.dino_wm.mae.decoder_depth=1 method.dino_wm.mae.steps=3000 data.episodes=256 "
    "for.cube.data.episodes=64 train.steps=10",
    "python -m harness.training.ship data/mae-<hash>",
)


def main(argv: Sequence[str]) -> int:
    """Exit code 0, 1 when the encoder cannot be read, or 2 when no folder is given."""
    failures = (OSError, ValueError, safetensors.SafetensorError)
    return command.main(argv, lambda _: __doc__, _source, lambda source: ship(*source), failures)


def ship(source: str, target: str) -> int:
    """Write the encoder of the folder `source` to `target`, in half precision, with the manifest of
    its training and its own sha256. Raises WeightsError where it cannot be loaded.
    """
    if misfit := frozen.weights_misfit(source):
        raise frozen.WeightsError(f"{source}: {misfit}")
    with open(os.path.join(source, MANIFEST), encoding="utf-8") as file:
        manifest = json.load(file)
    os.makedirs(target, exist_ok=True)
    shutil.copyfile(os.path.join(source, frozen.CONFIG), os.path.join(target, frozen.CONFIG))
    tensors = load_file(os.path.join(source, frozen.WEIGHTS))
    stored = save({n: v.half() for n, v in tensors.items()}, metadata={"format": "pt"})
    with open(os.path.join(target, frozen.WEIGHTS), "wb") as sink:
        sink.write(stored)
    manifest |= {"commands": COMMANDS, "sha256": hashlib.sha256(stored).hexdigest()}
    with open(os.path.join(target, MANIFEST), "w", encoding="utf-8") as sink:
        json.dump(manifest, sink, indent=1)
        sink.write("\n")
    return command.OK


def _source(argv: Sequence[str]) -> tuple[str, str]:
    """The folder that is given, and that of the package."""
    (folder,), _ = command.read_words(argv, {}, names=("datasets/mae-<hash>",))
    return command.expanded("datasets", folder), frozen.SHIPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
