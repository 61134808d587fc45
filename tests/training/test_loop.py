"""Training: resumable to the same weights, and clear about what stops it."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import tiny
import torch

from harness.contracts.method import Trainable
from harness.runtime import onednn, seeding
from harness.training import loop as training
from harness.training.checkpoint import (
    TRAINING,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    snapshot_name,
)
from harness.training.loop import (
    TrainConfig,
    TrainingError,
    TrainResult,
    optimizer_of,
    optimizer_step,
    total_steps,
    train,
)

CPU = torch.device("cpu")
STEPS = 12
WORDS = [f"train.steps={STEPS}", "train.batch_size=8", "train.log_every=2"]
SPEC = tiny.spec("lewm", *WORDS, "train.checkpoint_every_s=0")


class Interrupted(Exception):
    """The error that the progress callback raises."""


class Trained(NamedTuple):
    """The results of a training."""

    model: torch.nn.Module
    result: TrainResult
    steps: list[int]  # those that were reported


@pytest.fixture(scope="module")
def windows(datasets):
    return tiny.windows(SPEC, datasets, 4)


def run(windows, folder, spec=SPEC, seed=0, config_hash="a hash", stop_at=None):
    """Train from whatever lies in `folder`; raises Interrupted when step `stop_at` is reported."""
    steps = []

    def progress(stage, done, total):
        assert (stage, total) == ("train", STEPS)
        steps.append(done)
        if done == stop_at:
            raise Interrupted

    model = tiny.model(spec, seed)
    checkpoint = Checkpoint(str(folder), config_hash)
    result = train(model, windows, spec.config.train, seed, CPU, checkpoint, progress)
    return Trained(model, result, steps)


def interrupt(windows, folder, stop_at=7):
    with pytest.raises(Interrupted):
        run(windows, folder, stop_at=stop_at)


@pytest.fixture(scope="module")
def whole(windows, tmp_path_factory):
    """A training that nothing interrupted."""
    return run(windows, tmp_path_factory.mktemp("whole"))


def test_the_model_that_is_trained_takes_the_faster_products(windows, tmp_path, monkeypatch):
    accelerated = []
    monkeypatch.setattr(onednn, "accelerate", accelerated.append)
    assert accelerated == [run(windows, tmp_path).model]


def test_a_resumed_training_ends_with_the_same_weights(windows, whole, tmp_path):
    interrupt(windows, tmp_path, stop_at=7)
    interrupt(windows, tmp_path, stop_at=9)
    resumed = run(windows, tmp_path)
    assert resumed.steps == [9, 10, 11, 12]  # from where the last checkpoint was, after step 8
    expected, found = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.result.curve == whole.result.curve and resumed.result.steps == STEPS
    assert {entry.step for entry in whole.result.curve} == {0, 2, 4, 6, 8, 10, 11}


def test_other_steps_draw_other_batches_and_noise(windows, whole, tmp_path):
    """The resumed weights are equal because steps are seeded, not because nothing is random."""
    other = run(windows, tmp_path, seed=1)
    same_start = tiny.model(SPEC, 0).state_dict()
    assert not any(
        torch.equal(whole.model.state_dict()[name], other.model.state_dict()[name])
        for name in same_start
        if same_start[name].is_floating_point() and same_start[name].dim() > 1
    )
    draws = {seeding.integer("step", 0, step) for step in range(STEPS)}
    assert len(draws) == STEPS


def test_a_finished_training_is_not_repeated(windows, whole, tmp_path):
    run(windows, tmp_path)
    again = run(windows, tmp_path)
    assert again.steps == [] and again.result.curve == whole.result.curve
    expected, found = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert again.result.seconds > 0


def test_without_a_checkpoint_in_between_it_starts_again(windows, tmp_path):
    spec = tiny.spec("lewm", *WORDS, "train.checkpoint_every_s=600")
    with pytest.raises(Interrupted):
        run(windows, tmp_path, spec, stop_at=9)
    assert not list(tmp_path.iterdir())
    assert run(windows, tmp_path, spec).steps[0] == 1


def test_a_loss_that_is_not_finite_names_step_and_remedy(windows, tmp_path):
    spec = tiny.spec("lewm", *WORDS, "train.lr=1e30")
    said = r"^loss, .* not finite at step \d+: lower train.lr or train with train.precision=fp32$"
    with pytest.raises(TrainingError, match=said):
        run(windows, tmp_path, spec)


def test_a_checkpoint_of_another_configuration_is_refused(windows, tmp_path):
    interrupt(windows, tmp_path)
    with pytest.raises(CheckpointError, match=r"training.pt belongs to configuration a hash, this"):
        run(windows, tmp_path, config_hash="another hash")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_truncated_training_state_is_refused(windows, tmp_path, keep):
    interrupt(windows, tmp_path)
    path = tmp_path / TRAINING
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(CheckpointError, match=r"training.pt cannot be read: delete it$"):
        run(windows, tmp_path)


def test_parts_of_another_model_are_refused(tmp_path):
    """As after a change of the code that its configuration does not tell."""
    checkpoint, model = Checkpoint(str(tmp_path), "a hash"), Unequal()
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoint.save_training(model, optimizer, 3, 1.0, [])
    checkpoint.finish(model, "text: yaml")
    other = torch.nn.Linear(1, 1)
    said = r"{} is of another version of this model \({}.*\): delete it$"
    names = "2 missing: bias, weight; 2 unexpected: flat.weight, steep.weight"
    with pytest.raises(CheckpointError, match=said.format(TRAINING, names)):
        checkpoint.load_training(other, torch.optim.AdamW(other.parameters()))
    with pytest.raises(CheckpointError, match=said.format(TRAINING, ".*parameter group")):
        checkpoint.load_training(model, torch.optim.AdamW([model.flat.weight]))
    with pytest.raises(CheckpointError, match=said.format(WEIGHTS, names)):
        checkpoint.load_weights(other)
    model.flat = torch.nn.Linear(2, 1, bias=False)
    shape = (
        r"1 of another type or shape: flat.weight is float32 \(1, 1\) instead of float32 \(1, 2\)"
    )
    with pytest.raises(CheckpointError, match=said.format(WEIGHTS, shape)):
        checkpoint.load_weights(model)


def test_an_optimizers_state_of_other_weights_is_refused(tmp_path):
    """As after the parts of a model have changed their order: the optimizer counts parameters."""
    checkpoint = Checkpoint(str(tmp_path), "a hash")
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([model.weight, model.bias])
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint.save_training(model, optimizer, 3, 1.0, [])
    said = r"the optimizer's exp_avg is \(2, 3\) for weights of \(2,\)\): delete it$"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load_training(model, torch.optim.AdamW([model.bias, model.weight]))
    assert checkpoint.load_training(model, optimizer).step == 3


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    checkpoint, model = Checkpoint(str(tmp_path), "a hash"), Unequal()
    optimizer = torch.optim.AdamW(model.parameters())
    model.flat.weight.data.fill_(math.inf)
    checkpoint.save_training(model, optimizer, 3, 1.0, [])
    checkpoint.finish(model, "text: yaml")
    said = r"{} has NaN or infinite values, in flat.weight: delete it"
    with pytest.raises(CheckpointError, match=said.format(TRAINING)):
        checkpoint.load_training(Unequal(), optimizer)
    with pytest.raises(CheckpointError, match=said.format(WEIGHTS)):
        checkpoint.load_weights(Unequal())


def test_a_training_goes_on_with_the_data_and_the_encoder_that_it_began_with(tmp_path):
    model = Unequal()
    optimizer = torch.optim.AdamW(model.parameters())
    began = {"dataset": "d" * 64, "frozen encoder": "e" * 64}
    Checkpoint(str(tmp_path), "a hash", began).save_training(model, optimizer, 3, 1.0, [])
    assert Checkpoint(str(tmp_path), "a hash", began).load_training(model, optimizer).step == 3
    other = Checkpoint(str(tmp_path), "a hash", began | {"frozen encoder": "f" * 64})
    said = r"training.pt was begun with another frozen encoder \(eeeeeeee, now ffffffff\): put that"
    with pytest.raises(CheckpointError, match=said):
        other.load_training(model, optimizer)
    Checkpoint(str(tmp_path), "a hash").save_training(model, optimizer, 4, 1.0, [])  # of old
    assert other.load_training(model, optimizer).step == 4


def test_two_processes_that_save_at_once_leave_a_whole_file(tmp_path):
    model = torch.nn.Linear(512, 512)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoints = [Checkpoint(str(tmp_path), "a hash") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            saving = [
                pool.submit(checkpoint.save_training, model, optimizer, 3, 1.0, [])
                for checkpoint in checkpoints
            ]
            assert [saved.result() for saved in saving] == [None] * 4
    assert checkpoints[0].load_training(model, optimizer).step == 3
    assert [path.name for path in tmp_path.iterdir()] == [TRAINING]


@pytest.mark.parametrize("garbage", [b"text of some kind", b"\x80\x02K\x01.", b"PK\x03\x04zip?"])
def test_a_file_of_another_kind_is_refused(windows, tmp_path, garbage):
    (tmp_path / TRAINING).write_bytes(garbage)
    with pytest.raises(CheckpointError, match=r"training.pt cannot be read: delete it$"):
        run(windows, tmp_path)


def test_weights_of_another_configuration_or_broken_ones_are_refused(tmp_path):
    model = tiny.model(SPEC)
    checkpoint = Checkpoint(str(tmp_path), "first")
    assert checkpoint.load_weights(model) is None
    checkpoint.finish(model, "text: yaml")
    assert (tmp_path / "config.yaml").read_text() == "text: yaml"
    with pytest.raises(CheckpointError, match=r"belongs to configuration first, this trial is sec"):
        Checkpoint(str(tmp_path), "second").load_weights(model)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"weights.safetensors cannot be read: delete it$"):
        checkpoint.load_weights(model)


def test_steps_or_epochs(windows):
    config = tiny.spec("lewm", *WORDS).config.train
    assert total_steps(config, 1000) == STEPS
    epochs = tiny.spec("lewm", "train.steps=0", "train.epochs=1.5", "train.batch_size=8")
    assert total_steps(epochs.config.train, 1000) == 188  # 1,500 windows in batches of 8


def test_learning_rate_warms_up_and_falls_to_zero(windows, tmp_path):
    spec = tiny.spec("lewm", *WORDS, "train.warmup_fraction=0.25", "train.log_every=1")
    curve = [
        entry.value for entry in run(windows, tmp_path, spec).result.curve if entry.name == "lr"
    ]
    assert curve[:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3])
    assert curve == [*sorted(curve[:4]), *sorted(curve[4:], reverse=True)] and curve[-1] < 5e-5


class Unequal(Trainable):
    """Two scalars; the loss is a thousand times steeper in the first."""

    def __init__(self):
        super().__init__()
        self.steep, self.flat = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))

    def loss(self, batch):
        return {"loss": 1000 * self.steep.weight.sum() + 0.5 * self.flat.weight.sum()}


class Apart(Unequal):
    """The same, clipped apart."""

    @property
    def separate_clip_groups(self):
        return ((self.flat,),)


@pytest.mark.parametrize(("kind", "expected"), [(Unequal, 0.0005), (Apart, 0.5)])
def test_what_is_clipped_apart_keeps_its_gradient(kind, expected, windows):
    model = kind()
    config = TrainConfig(clip_norm=1.0)
    batch = windows.sample(seeding.stream("batch", 0, 0), 2).batch
    terms = optimizer_step(model, optimizer_of(model, config), batch, config, 1e-3, 0)
    assert model.steep.weight.grad.item() == pytest.approx(1, abs=1e-4)
    assert model.flat.weight.grad.item() == pytest.approx(expected, rel=1e-3)
    assert terms["grad_norm"].item() == pytest.approx(1000, rel=1e-3)


def test_batches_depend_on_their_step_and_not_on_who_reads_them(windows):
    def batches(steps, readers):
        return list(training._prefetched(windows, 4, 0, steps, CPU, readers))

    alone = batches(range(9), 1)
    assert not torch.equal(alone[0].actions, alone[1].actions)
    for steps, readers in ((range(9), 3), (range(5, 9), 4), (range(9, 9), 4)):
        found = batches(steps, readers)
        assert len(found) == len(steps)
        for batch, step in zip(found, steps, strict=True):
            assert torch.equal(batch.obs.pixels, alone[step].obs.pixels)
            assert torch.equal(batch.actions, alone[step].actions)


def test_snapshots_are_the_weights_that_the_training_had_then(windows, whole, tmp_path):
    spec = tiny.spec("lewm", *WORDS, "train.checkpoint_every_s=0", "train.snapshots=[0.25,0.5,1]")
    with pytest.raises(Interrupted):
        run(windows, tmp_path, spec, stop_at=4)
    trained = run(windows, tmp_path, spec)
    assert trained.result.curve == whole.result.curve  # keeping them changes nothing
    checkpoint = Checkpoint(str(tmp_path), "a hash")
    interrupt(windows, tmp_path / "half", stop_at=7)  # its last checkpoint is that of step 6
    half, model = tiny.model(SPEC), tiny.model(SPEC)
    Checkpoint(str(tmp_path / "half"), "a hash").load_training(
        half, optimizer_of(half, SPEC.config.train)
    )
    for share, expected in ((0.5, half), (1, whole.model)):
        assert checkpoint.load_weights(model, snapshot_name(share))
        expected = expected.state_dict()
        assert all(torch.equal(value, expected[n]) for n, value in model.state_dict().items())
    assert checkpoint.load_weights(model, snapshot_name(0.25))
    assert checkpoint.load_weights(model, snapshot_name(0.75)) is None
    with pytest.raises(CheckpointError, match="belongs to configuration"):
        Checkpoint(str(tmp_path), "another").load_weights(model, snapshot_name(0.5))


def test_a_training_that_pauses_goes_on_to_the_same_weights(windows, whole, tmp_path):
    paused = [tiny.spec("lewm", *WORDS, f"train.stop_after={share}") for share in (0.25, 0.5)]
    results = [run(windows, tmp_path, spec) for spec in paused]
    quarter, half = (math.ceil(share * STEPS) for share in (0.25, 0.5))
    assert [r.result.steps for r in results] == [quarter, half]
    assert results[1].steps == list(range(quarter + 1, half + 1))  # none is trained twice
    again = run(windows, tmp_path, paused[0])  # of an earlier share nothing is left to do
    assert again.steps == [] and again.result.steps == half
    resumed = run(windows, tmp_path)
    assert resumed.steps == list(range(half + 1, STEPS + 1))
    assert resumed.result.curve == whole.result.curve
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[n]) for n, value in resumed.model.state_dict().items())
