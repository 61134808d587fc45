"""weights=mae: trained once on the pooled frames, before the first trial that needs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rights
import tiny
import torch
from safetensors.torch import load_file, save_file

from harness import launch, report, trial, zoo
from harness.contracts.data import Obs
from harness.data import collect, episodes, features
from harness.data.episodes import DatasetError
from harness.experiment import config, identity
from harness.experiment.run_folders import RunFolders
from harness.nn import mae
from harness.nn.frozen import FrozenConfig, FrozenEncoder
from harness.records import run_tables
from harness.training import pretraining, ship

CPU = torch.device("cpu")
WORDS = [
    "method.{}.weights=mae",
    "method.{}.encoder_patch=8",
    "method.{}.mae.tasks=[toy,two_room]",
    "method.{}.mae.steps=30",
    "method.{}.mae.batch_size=16",
    "for.two_room.data.episodes=20",
    "data.episodes=24",
    "data.max_steps=40",
    "protocol.pairs=4",
    "train.steps=4",
    "plan_time.singles=0",
    "plan_time.joint=0",
]


def spec_of(method, *words):
    return tiny.spec(method, *(word.format(method) for word in WORDS), *words)


@pytest.fixture(scope="module")
def pool(datasets):
    spec = spec_of("dino_wm")
    return [
        episodes.open_dataset(collect.ensure(zoo.TASKS[name], data, str(datasets)))
        for name, data in spec.config.pool.items()
    ]


def test_the_pool_is_in_the_configuration_and_decides_the_hash():
    spec = spec_of("dino_wm")
    found = {name: data.episodes for name, data in spec.config.pool.items()}
    assert found == {"toy": 24, "two_room": 20}
    assert config.from_yaml(config.to_yaml(spec)) == spec
    assert identity.config_hash(spec) != identity.config_hash(
        spec_of("dino_wm", "for.two_room.data.episodes=21")
    )
    with pytest.raises(config.ConfigError, match='unknown task "to"'):
        spec_of("dino_wm", "method.dino_wm.mae.tasks=[to]")


def test_other_trials_have_no_pool_and_their_hash_of_old():
    spec = tiny.spec("lewm")
    assert spec.config.pool == {}
    old = config.to_yaml(spec).replace("  pool: {}\n", "")
    assert "pool" not in old and config.from_yaml(old) == spec
    assert "pool" not in identity._outcome(spec)["config"]


def test_a_suite_has_the_four_tasks_pooled():
    spec = tiny.spec("dino_wm", "scale=laptop", "method.dino_wm.weights=mae")
    assert list(spec.config.pool) == ["two_room", "push_t", "reacher", "cube"]
    for name, data in spec.config.pool.items():
        assert data == tiny.spec("lewm", "scale=laptop", task=name).config.data


@pytest.mark.parametrize("scale", ["laptop", "quick"])
@pytest.mark.parametrize("method", ["dino_wm", "dino_wm_proprio"])
def test_a_suite_for_a_small_machine_pays_for_no_pretraining(method, scale):
    config = tiny.spec(method, f"scale={scale}").config
    assert (config.method.weights, config.pool) == ("shipped", {})


def test_a_stored_encoder_gives_the_tokens_of_the_trained_one(trained_once, tmp_path, capsys):
    assert ship.ship(str(trained_once), str(tmp_path / "stored")) == 0
    tokens = []
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    for folder in (trained_once, tmp_path / "stored"):
        encoder = FrozenEncoder(FrozenConfig(weights=str(folder)), 32)
        tokens.append(encoder(pixels))
    assert not torch.equal(*tokens) and (tokens[0] - tokens[1]).abs().max() < 0.01
    trained, stored = (
        json.loads((folder / "manifest.json").read_text())
        for folder in (trained_once, tmp_path / "stored")
    )
    assert trained.items() <= stored.items()
    damaged = shutil.copytree(trained_once, tmp_path / "damaged")
    damage_weights(damaged)
    assert ship.main([str(damaged)]) == 1 and "has NaN" in capsys.readouterr().err
    assert ship.main([]) == 2


def test_frames_are_those_of_the_training_episodes(pool):
    frames = pretraining._Frames(pool)
    counts = [dataset.lengths[dataset.split("train")].sum() for dataset in pool]
    assert len(frames) == sum(counts)
    window = frames.sample(np.random.default_rng(0), 64)
    pixels = window.batch.obs.pixels
    assert pixels.shape == (64, 1, 3, 32, 32) and set(window.episode) == {0, 1}
    for picture, which, row in zip(pixels[:, 0], window.episode, window.start, strict=True):
        dataset = pool[which]
        episode = int(np.searchsorted(dataset.first_row, row, side="right")) - 1
        assert episode in dataset.split("train")
        assert (picture.numpy() == dataset.read_pixels([row])[0]).all()


def test_it_is_trained_once_and_the_same_again(pool, tmp_path):
    method = spec_of("dino_wm").config.method
    stages = []

    def progress(stage, done, total):
        stages.append((stage, done, total))

    made = pretraining.ready(method, pool, str(tmp_path), CPU, progress)
    assert stages[-1] == ("pretraining", 30, 30) and made.note == "MAE encoder"
    count = len(stages)
    proprio = spec_of("dino_wm_proprio").config.method
    assert pretraining.ready(proprio, pool, str(tmp_path), CPU, progress).weights == made.weights
    assert len(stages) == count
    folder = tmp_path / made.weights
    facts = json.loads((folder / "manifest.json").read_text())
    assert facts["loss_last"] < facts["loss_first"]
    first = (folder / "model.safetensors").read_bytes()
    shutil.rmtree(folder)
    pretraining.ready(method, pool, str(tmp_path), CPU, tiny.quiet)
    assert (folder / "model.safetensors").read_bytes() == first
    (folder / "manifest.json").unlink()
    with pytest.raises(DatasetError, match="made again"):
        pretraining.ready(method, pool, str(tmp_path), CPU, tiny.quiet)


def damage_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.weight"] *= float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


DAMAGES = {
    r"there is no model.safetensors; delete": lambda f: (f / "model.safetensors").unlink(),
    r"there is no manifest.json; delete": lambda f: (f / "manifest.json").unlink(),
    r"manifest.json cannot be read \(.*; delete": lambda f: (f / "manifest.json").write_text("{"),
    r"made with another format \(None instead of 1\); delete": lambda f: (
        f / "manifest.json"
    ).write_text("{}"),
    r"has NaN or infinite values, in layernorm.weight.*; or delete": damage_weights,
}


@pytest.mark.parametrize("said", DAMAGES)
def test_an_encoder_that_is_damaged_is_refused_before_a_training(
    said, pool, trained_once, tmp_path
):
    folder = shutil.copytree(trained_once, tmp_path / trained_once.name)
    method = spec_of("dino_wm").config.method
    assert pretraining.ready(method, pool, str(tmp_path), CPU, tiny.quiet).weights == str(folder)
    DAMAGES[said](folder)
    with pytest.raises(DatasetError, match=rf"{folder.name}.*{said} the folder, it is made again$"):
        pretraining.ready(method, pool, str(tmp_path), CPU, tiny.quiet)


@pytest.fixture(scope="module")
def trained_once(pool, tmp_path_factory):
    """The folder of the encoder for `pool`."""
    root = str(tmp_path_factory.mktemp("encoder"))
    return Path(
        pretraining.ready(spec_of("dino_wm").config.method, pool, root, CPU, tiny.quiet).weights
    )


def test_in_a_folder_that_may_only_be_read_the_encoder_is_used_or_missed(
    pool, trained_once, tmp_path
):
    method, root = spec_of("dino_wm").config.method, trained_once.parent
    with rights.read_only(root, trained_once, tmp_path):
        made = rights.without_root(
            lambda: pretraining.ready(method, pool, str(root), CPU, tiny.quiet).weights
        )
        with pytest.raises(OSError, match="is missing and") as caught:
            rights.without_root(
                lambda: pretraining.ready(method, pool, str(tmp_path), CPU, tiny.quiet)
            )
    assert made == str(trained_once)
    assert str(caught.value) == (
        f"{trained_once.name} is missing and {tmp_path} cannot be written: Permission denied. "
        f"Give another datasets=FOLDER"
    )


def test_after_an_interruption_the_weights_are_the_same(pool, tmp_path):
    method = spec_of("dino_wm").config.method
    made = []

    def interrupted(stage, done, total):
        if done == 20:
            raise KeyboardInterrupt

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        if name == "b":
            with pytest.raises(KeyboardInterrupt):
                pretraining.ready(method, pool, str(tmp_path / name), CPU, interrupted)
        folder = pretraining.ready(method, pool, str(tmp_path / name), CPU, tiny.quiet).weights
        made.append(Path(folder, "model.safetensors").read_bytes())
    assert made[0] == made[1]


def test_tokens_are_standardized_by_the_training_frames_where_that_is_asked_for(pool, monkeypatch):
    spec = tiny.spec("dino_wm", *WORDS[6:], "method.dino_wm.standardize=true")
    dataset = pool[0]
    rows = dataset.split_rows("train")
    for room in (False, True):
        monkeypatch.setattr(features, "_fits", lambda *_, room=room: room)
        model = zoo.METHODS["dino_wm"].build(
            spec.config.method, zoo.TASKS["toy"].spec.model_dims(dataset.image_size)
        )
        kept = pretraining.tokens(model, dataset, CPU, tiny.quiet)
        assert (kept is not None) == room
        tokens = model.encode(Obs(torch.from_numpy(dataset.read_pixels(rows))[:, None]))
        assert tokens.mean((0, 1)).abs().max() < 0.05
        assert abs(tokens.pow(2).mean().sqrt() - 1) < 0.05
    shutil.rmtree(Path(kept.filename).parent)  # the folder is shared with other tests


def test_trials_use_it_and_every_table_says_so(datasets, tmp_path):
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets))
    specs = [spec_of("dino_wm"), spec_of("dino_wm_proprio"), tiny.spec("dino_wm", *WORDS[6:])]
    specs += [spec_of(name, f"method.{name}.inputs=tokens") for name in ("gcbc", "gcivl", "gciql")]
    launch.prepare_datasets(specs, folders)
    before = set(datasets.glob("features-*"))  # of other tests
    for spec in specs:
        row = trial.run(spec, folders, tiny.quiet)
        assert row.status == "ok", row.error
        assert row.parameters_frozen > 0 and row.tokens_per_frame == (16 if spec.config.pool else 4)
    assert len(list(datasets.glob("mae-*"))) == 1
    assert len(set(datasets.glob("features-*")) - before) <= 2  # two encoders for six trials
    assert set(run_tables.read(str(tmp_path / "r")).trial["note"]) == {
        "MAE encoder",
        "untrained encoder",
    }
    tables = report.table_files(str(tmp_path / "r"))
    for kind in ("success.md", "efficiency.md"):
        text = tables[f"tables/{kind}"].decode()
        for label in ("DINO-WM (MAE encoder", "DINO-WM + proprio (MAE", "DINO-WM (untrained"):
            assert label in text, kind
        for label in ("GCBC", "GCIVL", "GCIQL"):
            assert f"{label} (MAE encoder)" in text, kind


def test_a_trial_computes_tokens_where_the_datasets_may_only_be_read(tmp_path, caplog):
    spec = tiny.spec("dino_wm", *WORDS[6:])
    (tmp_path / "data").mkdir()
    (tmp_path / "r").mkdir()
    dataset = tiny.dataset(spec, tmp_path / "data").folder
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "data"))
    trained = []

    def progress(stage, done, total):
        if stage == "probing":
            raise InterruptedError("after the training")
        trained.append((stage, done))

    with rights.read_only(tmp_path / "data", dataset):
        row = rights.without_root(lambda: trial.run(spec, folders, progress))
        rights.without_root(lambda: launch.prepare_datasets([spec, tiny.spec("lewm")], folders))
    assert f"{folders.datasets} cannot be written: where tokens of a frozen" in caplog.text
    assert row.error == "InterruptedError: after the training" and trained[-1] == ("train", 4)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [Path(dataset).name]
    assert "cannot be written (Permission denied): features are computed for" in caplog.text


def test_a_trial_goes_on_with_the_encoder_that_it_began_with(tmp_path, datasets):
    """Another one may lie in the same folder by then, and its tokens beside the datasets."""
    folder = tmp_path / "weights"
    words = ["train.checkpoint_every_s=0", f"method.dino_wm.weights={folder}"]
    spec = tiny.spec("dino_wm", *WORDS[6:], *words)
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets))

    def save(seed):
        torch.manual_seed(seed)
        sizes = {"encoder_width": 32, "encoder_depth": 1, "encoder_heads": 2, "encoder_patch": 8}
        mae.Autoencoder(FrozenConfig(weights="mae", **sizes), 32).save(folder)

    def error(stop_at):
        def progress(stage, done, total):
            if (stage, done) == ("train", stop_at):
                raise InterruptedError(f"stopped at {done}")

        return trial.run(spec, folders, progress).error

    save(1)
    assert "stopped at 3" in error(3)
    save(2)
    assert "training.pt was begun with another frozen encoder (" in error(4)
    save(1)
    assert "stopped at 4" in error(4)
