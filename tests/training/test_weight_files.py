"""Weights from elsewhere: equal to what the peer computes with them, and refused where wrong."""

import hashlib
import http.server
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import threading
from typing import ClassVar

import huggingface_hub
import pytest
import safetensors.torch
import torch

from harness.contracts.data import Obs
from harness.contracts.task import ModelDims
from harness.data.normalize import Normalizer
from harness.nn import published_names
from harness.planning import cost
from harness.training import weight_files
from harness.training.weight_files import WeightsError
from lewm.model import LeWM, LeWMConfig

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "lewm"
SIZE, BLOCK = 24, 10
NEAR = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def expected():
    return safetensors.torch.load_file(GOLDEN / "expected.safetensors")


def loaded(text, task="push_t"):
    """The model of a file, in evaluation mode."""
    file = weight_files.find(str(text), task)
    config = weight_files.sized(LeWMConfig(), file, SIZE, BLOCK)
    model = LeWM(config, ModelDims(SIZE, BLOCK, 4))
    weight_files.load(model, file.path, file.sha256)
    return model.eval()


@torch.inference_mode()
def answers(model, expected):
    """What the peer's get_cost computes, by our model and our cost."""
    z = model.encode(Obs(expected["pixels"], None))  # starts and goals
    costs = cost.latent_distance(model.fast_rollout(), z[:, 0], z[:, 1], 1, 100)
    count = expected["plans"].shape[1]
    plans = expected["plans"].flatten(0, 1)
    starts = z[:, :1].repeat_interleave(count, dim=0)
    rolled = model.rollout(starts, plans[:, :0], plans).unflatten(0, (-1, count))
    return {"latents": z, "rollouts": rolled, "costs": costs(expected["plans"])}


def copy_with(folder, tensors, file="weights.pt"):
    """The golden folder with other tensors."""
    folder.mkdir()
    shutil.copy(GOLDEN / "config.json", folder)
    if file.endswith(".safetensors"):
        safetensors.torch.save_file(tensors, folder / file)
    else:
        torch.save(tensors, folder / file)
    return folder


@pytest.fixture(scope="module")
def tensors():
    return torch.load(GOLDEN / "weights.pt", weights_only=True)


# -- what the peer wrote


def test_latents_rollouts_and_costs_are_the_peers(expected):
    found = answers(loaded(GOLDEN), expected)
    assert expected["costs"].std() > 0.01 * expected["costs"].mean()  # plans matter
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], **NEAR)


@pytest.mark.parametrize("file", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("names", ["transformers 4", "transformers 5", "ours"])
def test_every_set_of_names_gives_the_same_model(names, file, tensors, expected, tmp_path):
    under = published_names.ours(tensors)
    if names != "ours":
        under = published_names.theirs(under, int(names[-1]))
    assert (under.keys() == tensors.keys()) == (names == "transformers 4")
    found = answers(loaded(copy_with(tmp_path / "w", under, file)), expected)
    torch.testing.assert_close(found["costs"], expected["costs"], **NEAR)


def test_sizes_come_from_the_tensors_and_heads_from_the_config(tensors, tmp_path):
    file = weight_files.find(str(GOLDEN), "push_t")
    config = weight_files.sized(LeWMConfig(), file, SIZE, BLOCK)
    vit = config.encoder
    assert (vit.kind, vit.width, vit.patch, vit.depth, vit.heads) == ("vit", 24, 8, 2, 3)
    assert (config.latent_dim, config.history, config.projector_hidden) == (24, 3, 48)
    assert (config.predictor_depth, config.predictor_width, config.predictor_hidden) == (2, 24, 40)
    assert (config.predictor_heads, config.predictor_head_width) == (4, 8)
    written = json.loads((GOLDEN / "config.json").read_text())
    made = published_names.released_config(config, SIZE, BLOCK)
    assert made == written


def test_the_normaliser_is_the_peers(expected):
    mean, std = expected["action_mean"].numpy(), expected["action_std"].numpy()
    actions = expected["actions"]
    known = actions[~actions.isnan().any(1)].numpy()
    assert len(known) == len(actions) - 3
    own = Normalizer(known.mean(0), known.std(0), mean[:0], std[:0])
    torch.testing.assert_close(torch.from_numpy(own.action_mean), expected["action_mean"])
    torch.testing.assert_close(torch.from_numpy(own.action_std), expected["action_std"])
    scores = own.encode_actions(actions)
    torch.testing.assert_close(scores, expected["z_scores"], equal_nan=True, **NEAR)


PEER = os.environ.get("PEER_PYTHON", "")  # of an environment in which the peer is installed


@pytest.mark.skipif(not PEER, reason="PEER_PYTHON names no environment with the peer")
def test_the_peer_loads_what_we_write(expected, tmp_path):
    """A model of ours under the released names; the peer is the judge."""
    torch.manual_seed(1)
    config = weight_files.sized(LeWMConfig(), weight_files.find(str(GOLDEN), "push_t"), SIZE, BLOCK)
    model = LeWM(config, ModelDims(SIZE, BLOCK, 4)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    words = "import importlib.metadata as m; print(m.version('transformers').split('.')[0])"
    major = int(subprocess.check_output([PEER, "-c", words], text=True))
    torch.save(published_names.theirs(model.state_dict(), major), tmp_path / "weights.pt")
    written = published_names.released_config(config, SIZE, BLOCK)
    (tmp_path / "config.json").write_text(json.dumps(written))
    files = [tmp_path, GOLDEN / "expected.safetensors", tmp_path / "out.safetensors"]
    subprocess.run([PEER, GOLDEN / "make.py", "answer", *files], check=True)
    theirs = safetensors.torch.load_file(tmp_path / "out.safetensors")
    for name, value in answers(model, expected).items():
        torch.testing.assert_close(value, theirs[name], **NEAR)


def released_names():
    """The names in the released files, written out from their layout."""
    block = ["attn.norm.weight", "attn.norm.bias", "attn.to_qkv.weight"]
    block += [f"{part}.{kind}" for part in ("attn.to_out.0", "mlp.net.0", "mlp.net.1", "mlp.net.4")
              for kind in ("weight", "bias")]  # fmt: skip
    block += ["adaLN_modulation.1.weight", "adaLN_modulation.1.bias"]
    layer = [
        f"{part}.{kind}"
        for part in (
            *("layernorm_before", "layernorm_after", "intermediate.dense", "output.dense"),
            *(f"attention.attention.{name}" for name in ("query", "key", "value")),
            "attention.output.dense",
        )
        for kind in ("weight", "bias")
    ]
    projection = [f"patch_embeddings.projection.{kind}" for kind in ("weight", "bias")]
    mlp = ["0.weight", "0.bias", "3.weight", "3.bias", "1.weight", "1.bias"]
    mlp += ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    parts = ("patch_embed", "embed.0", "embed.2")
    return {
        *(f"encoder.embeddings.{n}" for n in ("cls_token", "position_embeddings", *projection)),
        *(f"encoder.encoder.layer.{i}.{name}" for i in range(12) for name in layer),
        *("encoder.layernorm.weight", "encoder.layernorm.bias", "predictor.pos_embedding"),
        *("predictor.transformer.norm.weight", "predictor.transformer.norm.bias"),
        *(f"predictor.transformer.layers.{i}.{name}" for i in range(6) for name in block),
        *(f"action_encoder.{part}.{kind}" for part in parts for kind in ("weight", "bias")),
        *(f"{part}.net.{name}" for part in ("projector", "pred_proj") for name in mlp),
    }


def test_the_papers_network_has_the_released_names_and_shapes():
    with torch.device("meta"):
        state = LeWM(LeWMConfig(), ModelDims(224, 10, 4)).state_dict()
    published = published_names.theirs(state)
    assert published.keys() == released_names() and len(published) == 303
    assert sum(value.numel() for value in published.values()) == 18_042_672
    assert published["action_encoder.patch_embed.weight"].shape == (10, 10, 1)
    assert published["predictor.pos_embedding"].shape == (1, 3, 192)
    assert published_names.ours(published).keys() == state.keys()
    found = published_names.config(state, LeWMConfig(history=1), {})
    assert found == LeWMConfig()


# -- files that are refused


class Planted:
    """A pickle that leaves a file where it runs."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize(
    "write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_pickle_is_never_run(write, tmp_path):
    proof = tmp_path / "ran"
    folder = tmp_path / "w"
    folder.mkdir()
    write({"encoder.embeddings.cls_token": Planted(proof)}, folder / "weights.pt")
    with pytest.raises(WeightsError, match="pickled objects are never run: give the state_dict"):
        loaded(folder)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Planted(proof)))
    assert proof.exists()  # it would have left its proof


@pytest.mark.parametrize("file", ["weights.pt", "weights.safetensors"])
def test_a_truncated_file_is_named(file, tensors, tmp_path):
    folder = copy_with(tmp_path / "w", tensors, file)
    whole = (folder / file).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (folder / file).write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=rf"{file} cannot be read|{file} holds more than"):
            loaded(folder)


def test_every_mismatch_is_named(tensors, tmp_path):
    broken = dict(tensors)
    del broken["predictor.transformer.norm.bias"]
    broken["extra.weight"] = torch.zeros(2)
    broken["projector.net.3.bias"] = torch.zeros(5)
    with pytest.raises(WeightsError) as caught:
        loaded(copy_with(tmp_path / "w", broken))
    said = str(caught.value)
    assert "1 missing: predictor.norm.bias" in said and "1 unexpected: extra.weight" in said
    assert "projector.3.bias is float32 (5,) instead of float32 (24,)" in said


def test_a_file_of_no_lewm_is_refused(tmp_path):
    cases = {
        "there is no encoder.vit.embeddings.cls_token": {"a": torch.zeros(1)},
        "holds no tensors by name": {"state_dict": {"a": torch.zeros(1)}},
        "holds no tensors by name \\(but a list\\)": [torch.zeros(1)],
    }
    for i, (said, content) in enumerate(cases.items()):
        with pytest.raises(WeightsError, match=said):
            loaded(copy_with(tmp_path / str(i), content))


def test_values_that_are_not_finite_are_refused(tensors, tmp_path):
    broken = tensors | {"projector.net.0.bias": torch.full((48,), torch.nan)}
    with pytest.raises(WeightsError, match=r"NaN or infinite values, in projector\.net\.0\.bias"):
        loaded(copy_with(tmp_path / "w", broken))


def test_weights_of_other_sizes_say_what_fits():
    file = weight_files.find(str(GOLDEN), "cube")
    with pytest.raises(WeightsError, match="blocks of 10 numbers, and those of this task have 25"):
        weight_files.sized(LeWMConfig(), file, SIZE, 25)
    with pytest.raises(WeightsError, match=r"pictures of 24 px: give data\.image_size=24"):
        weight_files.sized(LeWMConfig(), file, 64, BLOCK)


def test_heads_that_do_not_divide_are_refused(tensors, tmp_path):
    folder = copy_with(tmp_path / "w", tensors)
    (folder / "config.json").write_text('{"predictor": {"heads": 7}}')
    with pytest.raises(WeightsError, match="7 heads do not divide"):
        loaded(folder)
    for text in ("{", "[]", '{"encoder": 3}'):
        (folder / "config.json").write_text(text)
        with pytest.raises(WeightsError, match=r"config\.json"):
            loaded(folder)


def test_a_file_that_changed_is_refused(tensors, tmp_path):
    file = weight_files.find(str(copy_with(tmp_path / "w", tensors)), "push_t")
    torch.save(tensors | {"predictor.pos_embedding": torch.zeros(1, 3, 24)}, file.path)
    with pytest.raises(WeightsError, match="not the file that it was"):
        weight_files.read(file.path, file.sha256)


def test_a_path_that_is_nothing_says_what_may_be_given(tensors, tmp_path):
    with pytest.raises(WeightsError, match=r"no file or folder .*absent: give hf:owner/name"):
        loaded(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="holds no weights"):
        loaded(tmp_path / "empty")
    folder = copy_with(tmp_path / "w", tensors, "a.pt")
    assert weight_files.find(str(folder), "push_t").path == f"{folder}/a.pt"
    torch.save(tensors, folder / "b.pt")
    with pytest.raises(WeightsError, match=r"several files of weights \(a\.pt, b\.pt\)"):
        loaded(folder)
    assert weight_files.find(f"{folder}/b.pt", "push_t").path == f"{folder}/b.pt"


# -- the hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no hub within reach."""
    monkeypatch.setattr(weight_files.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(weight_files.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_without_a_hub_one_line_says_what_to_put_where(cache):
    for text in ("released", "hf:quentinll/lewm-pusht", "hf:a/b", "hf:a/b@main", "hf:a/b@0123abc"):
        with pytest.raises(WeightsError) as caught:
            weight_files.find(text, "push_t")
        said = str(caught.value)
        assert "\n" not in said and "lewm.weights=FOLDER" in said and "weights.pt" in said
    for text in ("hf:nothing", "hf:a/b/c", "hf:"):
        with pytest.raises(WeightsError, match="hf:"):
            weight_files.find(text, "push_t")
    with pytest.raises(WeightsError, match="no release for toy, but for: push_t"):
        weight_files.find("released", "toy")


def test_a_release_in_the_cache_must_have_its_checksum(cache, monkeypatch, tensors):
    release = weight_files.RELEASES["push_t"]
    folder = cache / "models--quentinll--lewm-pusht" / "snapshots" / (release.revision + 32 * "0")
    folder.parent.mkdir(parents=True)
    copy_with(folder, tensors)
    with pytest.raises(WeightsError, match=f"begin with {release.sha256}: delete the file"):
        weight_files.find("released", "push_t")
    digest = weight_files.find(str(folder), "push_t").sha256
    pinned = {"push_t": release._replace(sha256=digest[:12])}
    monkeypatch.setattr(weight_files, "RELEASES", pinned)
    for text in (
        "released",
        "hf:quentinll/lewm-pusht",
        f"hf:quentinll/lewm-pusht@{release.revision}",
    ):
        file = weight_files.find(text, "push_t")
        assert (file.origin, file.sha256) == ("quentinll/lewm-pusht@22b330c2", digest)
    assert weight_files.find(str(folder), "push_t").origin == "quentinll/lewm-pusht@22b330c2"


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one model, a/b, in two revisions, as far as a download asks."""

    OLD, NEW = "0123abc" + 33 * "0", "9876fed" + 33 * "0"
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self):
        commits = [{"id": name, "title": "", "message": "", "date": "2026-01-01T00:00:00.000Z",
                    "authors": []} for name in (self.NEW, self.OLD)]  # fmt: skip
        answers = {"/api/models/a/b/commits/main": commits, "/api/models/a/b": {"id": "a/b"}}
        for revision, sha in (("main", self.NEW), (self.OLD, self.OLD), (self.NEW, self.NEW)):
            known = {"id": "a/b", "sha": sha, "siblings": [{"rfilename": n} for n in self.files]}
            answers[f"/api/models/a/b/revision/{revision}"] = known
        path, *parts = self.path.partition("?")[0], *self.path.split("/")
        if path in answers:
            self.reply(json.dumps(answers[path]).encode(), {})
        elif parts[1:4] == ["a", "b", "resolve"] and parts[5] in self.files:
            data = self.files[parts[5]]
            etag = hashlib.sha256(data).hexdigest()
            self.reply(data, {"ETag": f'"{etag}"', "X-Repo-Commit": parts[4]})
        else:
            self.reply(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

    do_HEAD = do_GET

    def reply(self, data, headers, status=200):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, and an empty cache."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(weight_files.constants, "ENDPOINT", address)
    monkeypatch.setattr(weight_files.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(weight_files.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    names = ("weights.pt", "config.json")
    monkeypatch.setattr(Hub, "files", {name: (GOLDEN / name).read_bytes() for name in names})
    yield server
    server.shutdown()
    server.server_close()


def test_a_model_of_the_hub_is_downloaded_once(hub, expected):
    for text, revision in (("hf:a/b", Hub.NEW), ("hf:a/b@0123abc", Hub.OLD)):
        file = weight_files.find(text, "push_t")
        assert (file.origin, file.config_name) == (f"a/b@{revision[:8]}", "config.json")
        assert revision in file.path and file.sha256 == weight_files.find(str(GOLDEN), "").sha256
    torch.testing.assert_close(
        answers(loaded("hf:a/b@0123abc"), expected)["costs"], expected["costs"], **NEAR
    )
    hub.shutdown()  # a pinned revision needs no hub any more
    assert weight_files.find("hf:a/b@0123abc", "push_t").path == file.path


def test_a_model_that_the_hub_does_not_have_is_one_line(hub, monkeypatch):
    for text in ("hf:a/c", "hf:a/b@fffffff", "hf:a/b@absent"):
        with pytest.raises(WeightsError, match=r"give that instead") as caught:
            weight_files.find(text, "push_t")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(Hub, "files", {"model.onnx": b""})
    with pytest.raises(WeightsError, match=r"a/b has none of weights\.safetensors"):
        weight_files.find("hf:a/b", "push_t")
    monkeypatch.setattr(weight_files.constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(WeightsError, match="cannot be had from http://127"):
        weight_files.find("hf:a/b", "push_t")
