"""How big: overlays of the configuration (see config.py). "for" narrows a part to a task or a
method; "sizes" holds what a method's configuration has from a class that it derives from, so that
a new method has every scale; "about" says in one sentence what a scale is.

A setting that counts in optimizer steps, or in windows of a batch, means something else at another
scale. These are all of them (tests/test_rates.py holds the targets and BatchNorm to 1 % left):

                                        tiny    laptop          workstation, paper
    optimizer steps                     20      600 to 5,500    10 epochs: 10,000 and more
    windows of a batch, of DINO-WM's    16, 16  64, 32          128, 32
    EMA JEPA, momentum at the start     0.00    0.92 to 0.991   0.996: follows from the steps
      steps that the target averages    1       13 to 115       250
      initial weights left at the end   0.00 %  0.00 %          0.00 %
    GCIVL, GCIQL: target_rate           0.25    0.02            0.005, the source's
      steps that the target averages    4       50              200
      initial weights left at the end   0.3 %   0.00 %          0.00 %
    BatchNorm's running statistics      an average over 10 steps; at tiny 12 % are the initial ones
    AdamW's moments                     over 10 and 1,000 steps; torch corrects them for their start
    warm-up (a share of the steps)      1       42 to 385       1 %; then cosine to zero at the end
    steps from one logged value to the next  5  50              50
    LeWM: sigreg_weight (Push-T)        0.09    0.1 (0.2)       0.1
      weight x windows / 128            0.011   0.05 (0.1)      0.1, the paper's

SIGReg's statistic is multiplied by the number of windows, so the last line is what compares with
the paper's weight. PLDM's variances and covariances are estimates that do not grow with the batch.
"""

from __future__ import annotations

from typing import Any

_TASKS = ("two_room", "push_t", "reacher", "cube")
_POOLED = {"mae": {"tasks": _TASKS}}  # weights=mae is one autoencoder for the four tasks
_SMALL = {  # the architecture of harness/nn/jepa.py for pictures of 64 px
    "encoder": {"kind": "conv", "width": 128, "patch": 4, "channels": [32, 64, 128]},
    "latent_dim": 64,
    "projector_hidden": 512,
    "predictor_width": 96,
    "predictor_depth": 2,
    "predictor_heads": 4,
    "predictor_head_width": 32,
    "predictor_hidden": 384,
}
_TINY = _SMALL | {
    "encoder": {"kind": "conv", "width": 32, "patch": 4, "channels": [8, 16]},
    "latent_dim": 16,
    "projector_hidden": 32,
    "predictor_width": 32,
    "predictor_depth": 1,
    "predictor_heads": 2,
    "predictor_head_width": 16,
    "predictor_hidden": 64,
}
_MIDDLE = {  # half the depth of the paper's encoder; the predictor's defaults are the paper's
    "encoder": {"kind": "vit", "width": 192, "patch": 8, "depth": 6, "heads": 3},
}
_FROZEN_TINY = _POOLED | {
    "weights": "random",
    "encoder_width": 32,
    "encoder_depth": 1,
    "encoder_heads": 2,
    "encoder_patch": 16,
}
_FROZEN_SMALL = {  # 16 tokens for a picture of 64 px: with 64 one plan takes most of a minute
    "weights": "shipped",
    "mae": {"tasks": _TASKS, "steps": 1500, "batch_size": 64},  # of weights=mae; so are the sizes
    "encoder_width": 64,
    "encoder_depth": 4,
    "encoder_heads": 4,
    "encoder_patch": 16,
    "standardize": True,
}
_DINO_TINY = {
    "predictor_depth": 2,
    "predictor_heads": 2,
    "predictor_head_width": 16,
    "predictor_hidden": 64,
}
_DINO_SMALL = {
    "predictor_depth": 2,
    "predictor_heads": 4,
    "predictor_head_width": 16,
    "predictor_hidden": 256,
}
_DINO_TRAIN = {"train": {"batch_size": 32, "lr": 5e-4}}  # of gaoyuezhou/dino_wm's predictor
_FEW_PLANS = {"pairs": 8, "ranked": 3}  # a plan over tokens takes seconds
_DINO_SMALL_FOR = {
    "train": {"batch_size": 32, "lr": 1e-3, "steps": 4000},
    "plans": _FEW_PLANS,
}
_CEILING = {  # the best that this predictor reaches in about a minute
    "train": {"steps": 4000},
    "method": {"true_state": {"residual": True, "dropout": 0.0}},
}
_GOAL_CONDITIONED = ("gcbc", "gcivl", "gciql")
_HEADS_TINY = {  # baselines/goal_conditioned.py; the encoder is LeWM's
    "encoder": _TINY["encoder"],
    "reader": {"depth": 1, "heads": 2, "hidden": 64},
    "hidden": 64,
}
_HEADS_SMALL = {
    "encoder": _SMALL["encoder"],
    "reader": {"depth": 2, "heads": 4, "hidden": 256},
    "hidden": 256,
}
_LAPTOP_TRAIN = {
    "steps": 600,
    "batch_size": 64,
    "lr": 2e-3,
    "warmup_fraction": 0.07,
    "precision": "fp32",
}
_LAPTOP_SIZES = {
    # in so few steps a predictor of changes errs a third as far as one of whole latents
    "JEPAConfig": _SMALL | {"residual": True},
    # whose targets are nearly its own latents, so that to add no change is almost right at once
    "EMAJEPAConfig": {"residual": False},
    "LeWMConfig": {"sigreg_directions": 256},
    "FrozenConfig": _FROZEN_SMALL,
    "GoalConditionedConfig": _HEADS_SMALL,
    "ImplicitConfig": {"target_rate": 0.02},  # 0.005 hardly follows in so few steps
    "DinoWMConfig": _DINO_SMALL,
}
_DECODER_SMALL = {"patch": 8, "width": 64, "depth": 1, "lr": 4e-3, "steps": 800}
_QUICK_FROZEN = _FROZEN_SMALL | {"mae": {"tasks": _TASKS, "steps": 400, "batch_size": 64}}
_FROZEN_METHODS = ("dino_wm", "dino_wm_proprio")

# Published settings that differ by task: a layer of the configuration below that of the scale.
EVERY_SCALE: dict[str, Any] = {
    "for": {
        "two_room": {
            "data": {"max_steps": 101},  # rows of an episode in the released file, at most
            "method": {"smwm": {"idm_weight": 0.1}},
        },
        "push_t": {"method": {"smwm": {"idm_weight": 30.0}}},
        "reacher": {"method": {"smwm": {"idm_weight": 1.0}}},
        "cube": {"method": {"smwm": {"idm_weight": 1.0}}},
    },
}

SCALES: dict[str, dict[str, Any]] = {
    "tiny": {
        "about": "For tests: seconds, every part of the way, and numbers that mean nothing.",
        "data": {"episodes": 40, "max_steps": 60, "image_size": 32},
        "train": {
            "steps": 20,
            "batch_size": 16,
            "lr": 1e-3,
            "precision": "fp32",
            "log_every": 5,
        },
        "sizes": {
            "JEPAConfig": _TINY,
            "LeWMConfig": {"sigreg_directions": 64},
            "FrozenConfig": _FROZEN_TINY,
            "GoalConditionedConfig": _HEADS_TINY,
            "ImplicitConfig": {"target_rate": 0.25},
            "DinoWMConfig": _DINO_TINY,
        },
        "method": {"lewm": {"sigreg_weight": 0.09}},
        "plan_time": {"singles": 2, "together": 4, "joint": 1},
        "plans": {"pairs": 2, "ranked": 1, "candidates": 8},
        "decoder": {"width": 16, "depth": 1, "frames": 64, "steps": 4, "batch_size": 8}
        | {"windows": 4, "horizon_blocks": 3},
        "resources": {"cpu": 1},
    },
    "laptop": {
        "about": "Two CPU cores: a trial trains for about ten minutes at most on one core; 64 px.",
        "data": {"episodes": 800, "image_size": 64},
        "train": _LAPTOP_TRAIN,
        "sizes": _LAPTOP_SIZES,
        "plan_time": {"joint": 0},  # fifty plans together take up to minutes: on one task only
        "decoder": _DECODER_SMALL,
        "resources": {"cpu": 1},
        "for": {
            "two_room": {"plan_time": {"joint": 1}},
            "gcbc": {"train": {"lr": 1e-3}},
            "true_state": _CEILING,
            # faster, GCIQL's encoder ends with the same features for every frame
            **{name: {"train": {"lr": 5e-4, "steps": 1500}} for name in ("gcivl", "gciql")},
            # weight x windows / 128 is the paper's 0.1, without which the tee's angle is lost
            "push_t": {
                "train": {"steps": 5500},
                "method": {name: {"sigreg_weight": 0.2} for name in ("lewm", "lewm_idm")},
            },
            "reacher": {"train": {"steps": 2400}},
            "cube": {"data": {"episodes": 300}, "train": {"steps": 2000}},
            **dict.fromkeys(_FROZEN_METHODS, _DINO_SMALL_FOR),
        },
    },
    # Half of the laptop's training and data; weights=mae learns from its own task alone.
    "quick": {
        "about": "A first look in minutes: the laptop's models, trained for a minute or less each.",
        "data": {"episodes": 400, "image_size": 64},
        "train": _LAPTOP_TRAIN | {"steps": 300},
        "sizes": _LAPTOP_SIZES | {"FrozenConfig": _QUICK_FROZEN},
        "plan_time": {"singles": 5, "joint": 0},
        "decoder": _DECODER_SMALL,
        "resources": {"cpu": 1},
        "for": {
            **{
                task: {"method": {key: {"mae": {"tasks": [task]}} for key in _FROZEN_METHODS}}
                for task in _TASKS
            },
            "true_state": _CEILING,
            "gcbc": {"train": {"lr": 1e-3, "steps": 400}},
            **{name: {"train": {"lr": 1e-3, "steps": 400}} for name in ("gcivl", "gciql")},
            **{
                key: {
                    "train": {"batch_size": 32, "lr": 0.001, "steps": 1000},
                    "plans": _FEW_PLANS,
                }
                for key in _FROZEN_METHODS
            },
        },
    },
    # One GPU, an evening for everything: fewer and smaller pictures than the paper's, a shallower
    # encoder, a higher learning rate. The data are this project's, as at every scale.
    "workstation": {
        "about": "One GPU, an evening for everything; 96 px.",
        "data": {"episodes": 4000, "image_size": 96, "storage": "lz4"},
        "mpc": {"precision": "bf16"},
        "train": {"epochs": 10, "batch_size": 128, "lr": 2e-4},
        "sizes": {
            **dict.fromkeys(("JEPAConfig", "GoalConditionedConfig"), _MIDDLE),
            "FrozenConfig": _POOLED,
        },
        "resources": {"cpu": 4, "gpu": 1},
        "for": {"dino_wm": _DINO_TRAIN, "dino_wm_proprio": _DINO_TRAIN},
    },
    # The published architecture, picture size, number and length of episodes, epochs and share that
    # is trained on; every other default of the dataclasses is the paper's. The data are not: this
    # project's collectors record them. harness/tasks/README.md lists each difference.
    "paper": {
        "about": "One large GPU, days: the published sizes, number of episodes and epochs; 224 px.",
        "data": {
            "episodes": 10_000,
            "image_size": 224,
            "validation": 0.05,
            "test": 0.05,
            "scene": "full",
            "storage": "lz4",
        },
        "mpc": {"precision": "bf16"},
        "sizes": {
            "FrozenConfig": _POOLED,
            "GoalConditionedConfig": {"inputs": "tokens"},
            "ImplicitConfig": {"policy_goals": {"future": 0.5, "random": 0.5}},
        },
        "resources": {"cpu": 4, "gpu": 1},
        "for": {
            # rows of an episode in the released files, at most; of Push-T's 49 to 246 the mean
            "push_t": {"data": {"episodes": 18_685, "max_steps": 125}},
            "reacher": {"data": {"max_steps": 201}},
            "cube": {"data": {"max_steps": 201}},
            **{name: {"train": {"lr": 3e-4}} for name in _GOAL_CONDITIONED},  # OGBench's
            **dict.fromkeys(_FROZEN_METHODS, _DINO_TRAIN),
        },
    },
    # Nothing is trained: pictures, sizes and z-scores are what the released weights know. Most of
    # the episodes are for the pairs; the few others are for the z-scores that are not known.
    "published": {
        "about": "For suite=published: released weights of LeWM on pictures like theirs; 224 px.",
        "data": {
            "episodes": 120,
            "max_steps": 101,
            "image_size": 224,
            "validation": 0.1,
            "test": 0.7,
            "scene": "swm",
            "storage": "lz4",
            "normalizer": "released",
        },
        "sizes": {},  # those of the file with the weights
        "method": {"lewm": {"weights": "released"}},
        "resources": {"cpu": 2},
        # a picture of the cube takes a CPU a fifth of a second
        "for": {"cube": {"data": {"episodes": 60, "max_steps": 60}}},
    },
}

# of the other scales: lewm-v3
DEFAULT_PROTOCOL = {"tiny": "smoke", "quick": "quick", "published": "lewm-code"}
