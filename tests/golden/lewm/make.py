"""Golden files of a small LeWM, by stable-worldmodel's own classes, writer and loader.

Run it where the peer is installed; this project need not be (stable-worldmodel 0.1.1 and
stable-pretraining 0.1.8 without their dependencies, transformers 4.57.1, torch 2.13.0, hydra-core,
omegaconf, loguru, einops and what else the import asks for):

    python make.py write FOLDER                 weights.pt, config.json and expected.safetensors
    python make.py answer FOLDER INPUTS OUTPUT  loads a folder, computes from pixels and plans
"""

import importlib
import pathlib
import shutil
import sys
import tempfile
import types
import unittest.mock

import safetensors.torch
import torch

FACTS = {"image": 24, "width": 24, "heads": 3, "block": 10, "pairs": 2, "candidates": 10}
CONFIG = {
    "_target_": "stable_worldmodel.wm.lewm.LeWM",
    "encoder": {
        "_target_": "stable_pretraining.backbone.utils.vit_hf",
        "size": "tiny",
        "patch_size": 8,
        "image_size": FACTS["image"],
        "pretrained": False,
        "use_mask_token": False,
        "hidden_size": FACTS["width"],
        "num_hidden_layers": 2,
        "num_attention_heads": FACTS["heads"],
        "intermediate_size": 4 * FACTS["width"],
    },
    "predictor": {
        "_target_": "stable_worldmodel.wm.lewm.module.Predictor",
        "num_frames": 3,
        "input_dim": FACTS["width"],
        "hidden_dim": FACTS["width"],
        "output_dim": FACTS["width"],
        "depth": 2,
        "heads": 4,
        "mlp_dim": 40,
        "dim_head": 8,
        "dropout": 0.1,
        "emb_dropout": 0.0,
    },
    "action_encoder": {
        "_target_": "stable_worldmodel.wm.lewm.module.Embedder",
        "input_dim": FACTS["block"],
        "emb_dim": FACTS["width"],
    },
    **{
        name: {
            "_target_": "stable_worldmodel.wm.lewm.module.MLP",
            "input_dim": FACTS["width"],
            "output_dim": FACTS["width"],
            "hidden_dim": 48,
            "norm_fn": {"_target_": "torch.nn.BatchNorm1d", "_partial_": True},
        }
        for name in ("projector", "pred_proj")
    },
}


def import_peer():
    """The peer's modules that LeWM needs, by themselves: the packages around them also import
    environments and torchvision, which LeWM does not use.
    """
    for name in ("stable_worldmodel", "stable_worldmodel.wm", "stable_pretraining.backbone"):
        _bare_package(name)
    _ = importlib.import_module("transformers").ViTModel  # before there is a stand-in
    torchvision = types.ModuleType("torchvision")
    with unittest.mock.patch.dict(sys.modules, {"torchvision": torchvision}):
        importlib.import_module("stable_pretraining.backbone.utils")
    names = ("stable_worldmodel.wm.utils", "stable_worldmodel.data.normalization")
    return [importlib.import_module(name) for name in names]


def _bare_package(name):
    """The package without what its __init__ imports, and the packages around it."""
    parent, _, last = name.rpartition(".")
    if parent and parent not in sys.modules:
        _bare_package(parent)
    around = sys.modules[parent].__path__ if parent else sys.path
    package = types.ModuleType(name)
    package.__path__ = [
        str(folder) for place in around if (folder := pathlib.Path(place, last)).is_dir()
    ]
    sys.modules[name] = package


def stirred(model):
    """A model in evaluation mode whose every number differs from its initial value."""
    for parameter in model.parameters():
        parameter.data.add_(0.15 * torch.randn(parameter.shape))
    model.train()
    with torch.no_grad():  # for the running statistics of BatchNorm
        for _ in range(3):
            z = model.encode({"pixels": torch.randn(8, 3, 3, FACTS["image"], FACTS["image"])})
            model.predict(z["emb"], model.action_encoder(torch.randn(8, 3, FACTS["block"])))
    return model.eval()


def normalised(pixels):
    """Pictures (..., 3, size, size) uint8 as the peer's evaluation script gives them to a model."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


@torch.no_grad()
def answer(model, pixels, plans):
    """Latents of pictures (B, 2, 3, size, size) uint8, starts and goals; rollouts and costs of
    plans (B, N, K, A) from the starts. The peer's get_cost takes one pair at a time.
    """
    frames, count = normalised(pixels), plans.shape[1]
    rollouts, costs = [], []
    for pair, own in zip(frames, plans, strict=True):
        info = {
            "pixels": pair[:1][None, None].expand(1, count, -1, -1, -1, -1),
            "goal": pair[1:][None, None].expand(1, count, -1, -1, -1, -1),
            "action": torch.zeros(1, count, 1, plans.shape[-1]),
        }
        costs.append(model.get_cost(info, own[None])[0])
        rollouts.append(info["predicted_emb"][0, :, 1:])
    latents = model.encode({"pixels": frames})["emb"]
    return {"latents": latents, "rollouts": torch.stack(rollouts), "costs": torch.stack(costs)}


def z_scores(scaler):
    """Actions with gaps, as in files whose episodes end with an unknown one, and their scores."""
    actions = torch.randn(200, 2) * torch.tensor([0.2, 0.7]) + torch.tensor([-0.01, 0.3])
    actions[[49, 99, 199]] = torch.nan
    scaler.fit(actions.numpy())
    statistics = {"action_mean": scaler.mean[0], "action_std": scaler.std[0]}
    statistics = {name: torch.from_numpy(value) for name, value in statistics.items()}
    return {"actions": actions, "z_scores": scaler.transform(actions)} | statistics


def write(folder):
    utils, normalization = import_peer()
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    model = stirred(instantiate(OmegaConf.create(CONFIG)))
    with tempfile.TemporaryDirectory() as cache:
        utils.save_pretrained(model, "small", OmegaConf.create(CONFIG), cache_dir=cache)
        loaded = utils.load_pretrained("small", cache_dir=cache).eval()
        (written,) = pathlib.Path(cache).rglob("small")
        for file in ("weights.pt", "config.json"):
            shutil.copy(written / file, folder)
    size, pairs = FACTS["image"], FACTS["pairs"]
    inputs = {
        "pixels": torch.randint(0, 256, (pairs, 2, 3, size, size), dtype=torch.uint8),
        "plans": torch.randn(pairs, FACTS["candidates"], 5, FACTS["block"]),
    }
    found = inputs | answer(loaded, **inputs) | z_scores(normalization.ZScoreScaler())
    _save(found, f"{folder}/expected.safetensors")


def load(folder, inputs, output):
    utils, _ = import_peer()
    with tempfile.TemporaryDirectory() as cache:
        model = utils.load_pretrained(str(pathlib.Path(folder).resolve()), cache_dir=cache).eval()
    given = safetensors.torch.load_file(inputs)
    _save(answer(model, given["pixels"], given["plans"]), output)


def _save(tensors, path):
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    pathlib.Path(path).write_bytes(safetensors.torch.save(tensors))


if __name__ == "__main__":
    {"write": write, "answer": load}[sys.argv[1]](*sys.argv[2:])
