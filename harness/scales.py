"""How big: overlays of the configuration (see config.py). "for" narrows a part to a task or a
method; "sizes" holds what a method's configuration has from a class that it derives from, so that
a new method has every scale; "about" says in one sentence what a scale is.
"""

from __future__ import annotations

from typing import Any

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
_MIDDLE = {  # the paper's sizes at 96 px
    "encoder": {"kind": "vit", "width": 192, "patch": 8, "depth": 6, "heads": 3},
}
_FROZEN_TINY = {
    "weights": "random",
    "encoder_width": 32,
    "encoder_depth": 1,
    "encoder_heads": 2,
    "encoder_patch": 16,
}
_FROZEN_SMALL = {  # 16 tokens for a picture of 64 px: with 64 one plan takes most of a minute
    "weights": "mae",
    "mae": {"steps": 1500, "batch_size": 64},
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
_DINO_SMALL_FOR = {"train": {"batch_size": 32, "lr": 1e-3, "steps": 4000}}
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
            "DinoWMConfig": _DINO_TINY,
        },
        "method": {"lewm": {"sigreg_weight": 0.09}},
        "plan_time": {"singles": 2, "together": 4, "joint": 1},
        "resources": {"cpu": 1},
    },
    "laptop": {
        "about": "Two CPU cores: a trial trains for about ten minutes at most on one core; 64 px.",
        "data": {"episodes": 800, "image_size": 64},
        "train": {
            "steps": 600,
            "batch_size": 64,
            "lr": 2e-3,
            "warmup_fraction": 0.07,
            "precision": "fp32",
        },
        "sizes": {
            "JEPAConfig": _SMALL,
            "LeWMConfig": {"sigreg_directions": 256},
            "FrozenConfig": _FROZEN_SMALL,
            "GoalConditionedConfig": _HEADS_SMALL,
            # at the source's 0.005 the target hardly follows in so few steps
            "ImplicitConfig": {"target_rate": 0.02},
            "DinoWMConfig": _DINO_SMALL,
        },
        "plan_time": {"joint": 0},  # fifty plans together take up to minutes: on one task only
        "resources": {"cpu": 1},
        "for": {
            "two_room": {"plan_time": {"joint": 1}},
            "gcbc": {"train": {"lr": 1e-3}},
            "collapsed": {"train": {"steps": 600}},  # its latents are equal long before
            # faster, GCIQL's encoder ends with the same features for every frame
            **{name: {"train": {"lr": 5e-4, "steps": 1500}} for name in ("gcivl", "gciql")},
            "push_t": {"train": {"steps": 3000}},
            "reacher": {"train": {"steps": 2400}},
            "cube": {"data": {"episodes": 300}, "train": {"steps": 2000}},
            **dict.fromkeys(("dino_wm", "dino_wm_proprio"), _DINO_SMALL_FOR),
        },
    },
    "workstation": {
        "about": "One GPU, an evening for everything; 96 px.",
        "data": {"episodes": 4000, "image_size": 96, "storage": "lz4"},
        "mpc": {"precision": "bf16"},
        "train": {"epochs": 10, "batch_size": 128, "lr": 2e-4},
        "sizes": dict.fromkeys(("JEPAConfig", "GoalConditionedConfig"), _MIDDLE),
        "resources": {"cpu": 4, "gpu": 1},
        "for": {"dino_wm": _DINO_TRAIN, "dino_wm_proprio": _DINO_TRAIN},
    },
    "paper": {
        "about": "One large GPU, days: the published sizes, number of episodes and epochs; 224 px.",
        "data": {"episodes": 10_000, "image_size": 224, "scene": "full", "storage": "lz4"},
        "mpc": {"precision": "bf16"},
        "sizes": {"GoalConditionedConfig": {"inputs": "tokens"}},
        "resources": {"cpu": 4, "gpu": 1},
        "for": {name: {"train": {"lr": 3e-4}} for name in _GOAL_CONDITIONED}  # OGBench's
        | {"dino_wm": _DINO_TRAIN, "dino_wm_proprio": _DINO_TRAIN},
    },
}

DEFAULT_PROTOCOL = {"tiny": "smoke"}  # of the other scales: lewm-v3
