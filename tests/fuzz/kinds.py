"""The kinds of hostile input: what each starts from, and what is done with the damaged thing."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import random
import shutil
import sqlite3
from pathlib import Path

import foreign
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import tiny
import torch
from report.synthetic_run import SyntheticRun, film

from harness import launch, report, run, trial, zoo
from harness.data import episodes, features, importing, sources
from harness.evaluate import pairs
from harness.experiment import config, identity
from harness.nn import frozen
from harness.records import manifest, plan, rows, run_tables
from harness.report import load, published
from harness.report.page import progress
from harness.runtime.command import ConfigError
from harness.sweep import search, space
from harness.training import weight_files
from harness.training.checkpoint import Checkpoint, CheckpointError

from . import damage
from .runner import Case, Kind

GOLDEN = Path(__file__).parents[1] / "golden" / "lewm"
METHODS = ("lewm", "pldm", "dino_wm", "gcbc", "gciql", "ema_jepa", "random")
BUILT = 5000  # sizes above are not built, not even without memory


# -- words and YAML


def _key_values(rng: random.Random, root: Path) -> str:
    """A word of the command line."""
    keys = [key for key in config.trial_keys() if not key.startswith("method.lewm_idm")]
    own = [k for k in config._RUN_KEYS if k not in ("results", "datasets", "from", "log", "ray")]
    kind = rng.random()
    if kind < 0.05:
        return damage.text(rng, root)
    key = rng.choice(keys if kind < 0.75 else own)
    if rng.random() < 0.1:
        key = f"for.{rng.choice([*zoo.TASKS, *METHODS, damage.text(rng, root)])}.{key}"
    if rng.random() < 0.1:
        key = rng.choice(
            [key + ".x", key.rpartition(".")[0], key[:-1], f"{key}.{key}", key.upper()]
        )
    numbers = ["0", "1", "2", "3", "7", "64", "-1", "0.5", "1e9", "0.999", "4294967295", "1.0001"]
    return f"{key}={rng.choice([damage.text(rng, root), rng.choice(numbers)])}"


def _words(folder: Path) -> Case:
    base = ["suite=smoke", "scale=tiny", "device=cpu", "tasks=toy"]

    def case(rng: random.Random, own: Path) -> None:
        given = [*base, f"methods={rng.choice(METHODS)}"]
        given += [_key_values(rng, own) for _ in range(rng.choice([1, 1, 1, 2, 4]))]
        if "suite=published" in given:
            return  # it asks the hub
        if rng.random() < 0.02:
            assert run.main([*given, "dry=true", "backend=loop"]) in (0, 1, 2)
            return
        _, specs = run._parse(given)
        for spec in specs[:2]:
            identity.config_hash(spec)
            assert config.from_yaml(config.to_yaml(spec)) == spec
            _builds(spec)

    return case


def _builds(spec: identity.TrialSpec) -> None:
    """What was accepted can be built: a network of those sizes, without memory."""
    settings = spec.config.method
    sizes = [v for v in _numbers(dataclasses.asdict(settings)) if isinstance(v, int)]
    known = zoo.METHODS[spec.method].trained and getattr(settings, "weights", "random") in (
        "random",
        "trained",
    )
    if not known or max(sizes, default=0) > BUILT or spec.config.data.image_size > 256:
        return
    if getattr(settings, "uses_frozen_encoder", False):
        settings = settings.untrained()
    dims = zoo.TASKS[spec.task].spec.model_dims(spec.config.data.image_size)
    depths = ("depth", "layers")
    if any(v > 64 for k, v in _leaves(dataclasses.asdict(settings)) if k.endswith(depths)):
        return
    with torch.device("meta"):
        zoo.METHODS[spec.method].build(settings, dims)


def _leaves(content, name=""):
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, key)
    else:
        yield name, content if isinstance(content, int) else 0


def _numbers(content):
    if isinstance(content, dict):
        content = tuple(content.values())
    if isinstance(content, list | tuple):
        for item in content:
            yield from _numbers(item)
    elif isinstance(content, int | float):
        yield content


def _sweep_words(folder: Path) -> Case:
    ranges = [
        "log:0.001:1",
        "uniform:0:1",
        "int:1:8",
        "choice:a,b",
        "log:1:0",
        "log:0:1",
        "int:1:1",
    ]
    ranges += ["log:1e-320:1e308", "uniform:-inf:inf", "int:0:9999999999999999999999", "choice:"]
    ranges += [
        "choice:1,2",
        "log:0.1",
        "log:::",
        "uniform:nan:1",
        "x",
        "",
        "int:0.5:1",
        "log:1:1.0001",
    ]
    extra = ["sampler", "trials", "points", "resolution", "seed", "seeds", "objectives", "prune"]
    extra += ["test", "task", "method", "scale", "protocol", "run", "device", "protocol.split"]
    own_values = ["grid", "bisection", "random", "0", "1", "3", "1000", "1.0001", "asha", "true"]

    def case(rng: random.Random, own: Path) -> None:
        words = ["task=toy", f"method={rng.choice(METHODS)}", "scale=tiny", "device=cpu"]
        words.append(f"results={own}")
        if rng.random() < 0.5:
            words.append("space.train.lr=log:0.001:0.1")
        keys = [*config.trial_keys(), "train.lr", "train.lr", "data.seed"]
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            words.append(f"space.{rng.choice(keys)}={rng.choice([*ranges, damage.text(rng, own)])}")
        for _ in range(rng.choice([0, 1, 1, 2])):
            value = rng.choice([*own_values, damage.text(rng, own)])
            words.append(f"{rng.choice(extra)}={value}")
        if rng.random() < 0.3:
            words.append(_key_values(rng, own))
        sweep = space.parse(words)
        assert sweep.folders.folder.startswith(str(own)), sweep.folders.folder
        sweep.study  # noqa: B018  its name is a hash of the rest

    return case


def _yaml(folder: Path) -> Case:
    texts = [config.to_yaml(tiny.spec(method)) for method in METHODS]

    def case(rng: random.Random, own: Path) -> None:
        lines = rng.choice(texts).splitlines()
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(lines))
            key, colon, _ = lines[at].partition(":")
            deed = rng.random()
            if deed < 0.6 and colon:
                lines[at] = f"{key}: {damage.text(rng, own)}"
            elif deed < 0.7:
                del lines[at]
            elif deed < 0.8:
                lines.insert(at, lines[rng.randrange(len(lines))])
            elif deed < 0.9:
                lines[at] = f"{key}: {json.dumps(damage.text(rng, own))}"
            else:
                lines.insert(at, damage.text(rng, own))
            lines = lines or [""]
        content = "\n".join(lines).encode(errors="surrogatepass")
        if rng.random() < 0.1:
            content = damage.data(rng, content)
        Path("spec.yaml").write_bytes(content)
        spec, folders = trial._parse(["spec.yaml", "results=r", "datasets=d"])
        place = (own / folders.checkpoint(spec)).resolve()
        assert place.is_relative_to(own / "r" / "trials"), place

    return case


# -- datasets and lists of pairs


def _datasets(folder: Path) -> Case:
    words = ["data.episodes=12", "data.max_steps=30", "data.image_size=8"]
    found = {
        kind: tiny.dataset(tiny.spec("noop", *words, f"data.storage={kind}"), folder / kind).folder
        for kind in ("raw", "lz4")
    }

    def case(rng: random.Random, own: Path) -> None:
        place = shutil.copytree(found[rng.choice(["raw", "lz4"])], own / "data")
        path = place / episodes.MANIFEST
        content = json.loads(path.read_bytes())
        deed = rng.random()
        if deed < 0.5:
            content = damage.tree(rng, content, own)
        else:
            file = place / rng.choice([shard["file"] for shard in content["shards"]])
            file.write_bytes(damage.data(rng, file.read_bytes()))
            content["shards"][0]["bytes"] = (place / content["shards"][0]["file"]).stat().st_size
        if rng.random() < 0.8:
            with contextlib.suppress(Exception):  # a forger's hashes fit
                shards = [episodes.Shard(**shard) for shard in content["shards"]]
                content["hash"] = episodes.content_hash(shards)
                content["split_hash"] = episodes.split_hash(content["split"])
        path.write_bytes(
            damage.dumped(rng, content) if deed < 0.9 else damage.data(rng, path.read_bytes())
        )
        dataset = episodes.open_dataset(str(place))
        dataset.read_pixels(np.arange(len(dataset.state)))
        for i in range(len(dataset.lengths)):
            dataset.episode(i)

    return case


def _pair_lists(folder: Path) -> Case:
    spec = tiny.spec("noop")
    dataset, task = tiny.dataset(spec, folder), zoo.TASKS["toy"]
    drawn = pairs.draw(dataset, task, spec.config.protocol, 0)[0]
    offset = spec.config.protocol.offset_steps
    entries = []
    for pair in drawn:
        row = int(dataset.first_row[pair.episode]) + pair.step
        where = (pair.episode, pair.step, pair.step + offset, row, row + offset)
        entries.append(manifest.ManifestPair(pair.pair_id, *where, 1.0, False))
    whole = manifest.Manifest("toy", {"name": "x"}, 0, 0, "heldout", {}, tuple(entries))
    manifest.write(str(folder / "pairs.json"), whole, "2026-11-01T00:00:00+00:00")
    content = json.loads((folder / "pairs.json").read_text())

    def case(rng: random.Random, own: Path) -> None:
        written = damage.dumped(rng, damage.tree(rng, content, own))
        if rng.random() < 0.2:
            written = damage.data(rng, written)
        Path("pairs.json").write_bytes(written)
        protocol = tiny.spec("noop", f"protocol.manifest={own}/pairs.json").config.protocol
        pairs.draw(dataset, task, protocol, 0)

    return case


def _source_files(folder: Path) -> Case:
    dataset = foreign.recorded("push_t", folder / "own", episodes=3, steps=10, size=16)
    found = foreign.all_columns("push_t", dataset, nan_last=True)
    foreign.hdf5(folder / "a.h5", found)
    foreign.folder(folder / "folder", found)
    dino = folder / "dino"
    with contextlib.suppress(ImportError):
        foreign.dino_wm(dino, found)
    task = zoo.TASKS["push_t"]

    def case(rng: random.Random, own: Path) -> None:
        kinds = ["a.h5", "folder", *(["dino"] if dino.exists() else [])]
        origin = folder / rng.choice(kinds)
        if origin.is_file():
            place = own / "a.h5"
            if rng.random() < 0.4:
                _other_hdf5(rng, origin, place, own)
            else:
                place.write_bytes(damage.data(rng, origin.read_bytes()))
        else:
            place = shutil.copytree(origin, own / origin.name)
            file = rng.choice([p for p in sorted(place.rglob("*")) if p.is_file()])
            file.write_bytes(damage.data(rng, file.read_bytes()))
            if rng.random() < 0.1:
                file.write_bytes(damage.planted())
        importing.check(task, str(place))
        source = sources.open_source(str(place))
        columns = importing.state_columns(task, source)
        for episode in range(min(3, len(source.lengths))):
            end = min(5, int(source.lengths[episode]))
            source.pictures(episode, 0, end)
            for column in columns:
                source.read(column, episode, 0, end)
        sources.fingerprint(str(place))

    return case


def _other_hdf5(rng: random.Random, origin: Path, place: Path, own: Path) -> None:
    """The file with a data set that is gone, or of another type, shape or length."""
    shutil.copy(origin, place)
    with h5py.File(place, "r+") as file:
        name = rng.choice(list(file))
        values = file[name][:]
        del file[name]
        other = rng.choice(
            [None, values[:-1], values.astype(str), values.reshape(-1), values[:0], -values,
             values.astype(np.float64) * np.nan, np.int64(3), b"x", values.astype(np.uint64)]
        )  # fmt: skip
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            if other is not None:
                file[name] = other
            if rng.random() < 0.2:
                file[name] = h5py.ExternalLink(str(own / damage.ESCAPED), "/x")


# -- rows


def _write_run(folder: Path, frames: bool = True, **fields) -> None:
    made = SyntheticRun(folder)
    shown = film(20, True) if frames else ()
    metrics = [("train", "loss", i, 1.0 / (i + 1), "1") for i in range(4)]
    metrics += [("plan_time", "solve_s_1", i, 0.1, "s") for i in range(4)]
    metrics += [
        ("probing", f"block.latent.{probe}.100.{measure}", 0, 0.5, "")
        for probe in ("linear", "mlp2x256")
        for measure in ("r", "mse", "error")
    ]
    for method in ("lewm", "random"):
        words = {"task": "two_room", "method": method, **(fields if method == "lewm" else {})}
        made.trial(seed=0, outcome=[True, False] * 4, strata= ("same room", "detour"),
                   metrics=metrics, frames=shown, **words)  # fmt: skip


def _parquet(folder: Path) -> Case:
    _write_run(folder / "run")

    def case(rng: random.Random, own: Path) -> None:
        place = shutil.copytree(folder / "run", own / "run")
        file = rng.choice(sorted(place.rglob("*.parquet")))
        if rng.random() < 0.5:
            file.write_bytes(damage.data(rng, file.read_bytes()))
        else:
            pq.write_table(_other_table(rng, pq.read_table(file), own), file)
        load.load(str(place))
        run_tables.frames(str(place))
        for path in (place / "trials").iterdir():
            rows.read_trial(str(path))
            rows.is_done(str(path), path.name[-8:], ["train"])
            rows.read_back(str(path))

    return case


def _other_table(rng: random.Random, table: pa.Table, own: Path) -> pa.Table:
    """The table with a column that is gone, doubled, of another type or has hostile values."""
    at = rng.randrange(table.num_columns)
    name, column = table.column_names[at], table.column(at)
    deed = rng.randrange(8)
    if deed == 0:
        return table.remove_column(at)
    if deed == 1:
        return table.append_column(rng.choice([name, "new", damage.text(rng, own)]), column)
    if deed == 2:
        return rng.choice([table.slice(0, 0), pa.concat_tables([table, table])])
    if deed == 3:
        return table.set_column(at, name, pa.array([None] * len(table), column.type))
    if deed == 4:
        kinds = [
            pa.string(),
            pa.int64(),
            pa.float32(),
            pa.binary(),
            pa.bool_(),
            pa.list_(pa.int8()),
        ]
        try:
            return table.set_column(at, name, column.cast(rng.choice(kinds)))
        except pa.ArrowException:
            return table.set_column(at, name, pa.array([[1]] * len(table)))
    texts = pa.types.is_string(column.type)
    hostile = [damage.text(rng, own).encode(errors="replace").decode() for _ in range(len(table))]
    if texts:
        return table.set_column(at, name, pa.array(hostile))
    values = [rng.choice([-1, 0, 2**62, -(2**62), 1]) for _ in range(len(table))]
    if pa.types.is_floating(column.type):
        values = [rng.choice([float("nan"), float("inf"), -1e308, 0.0]) for _ in values]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return table.set_column(at, name, pa.array(values, column.type))
    return table.set_column(at, name, pa.array([rng.randbytes(8) for _ in values]))


_LABELS = ("method_label", "task_label", "note", "error", "run", "scale", "protocol", "suite",
           "device", "versions", "git_commit", "variant", "task", "method", "weights", "driver",
           "config_yaml")  # fmt: skip


def _pages(folder: Path) -> Case:
    def case(rng: random.Random, own: Path) -> None:
        fields = {
            name: damage.text(rng, own).encode(errors="replace").decode()
            for name in rng.sample(_LABELS, rng.choice([1, 2, 4]))
        }
        fields |= {"status": "error"} if "error" in fields else {}
        _write_run(own / "run", frames=rng.random() < 0.1, key="two_room.lewm.s0", **fields)
        if rng.random() < 0.5:
            content = {"trials": [{**_PLANNED, "cannot_run": damage.MARKUP}], "protocols": {}}
            written = damage.dumped(rng, damage.tree(rng, content, own))
            (own / "run" / plan.FILE).write_bytes(written)
        if rng.random() < 0.01:
            report.write(str(own / "run"))
            text = (own / "run" / "index.html").read_text()
        else:
            parts = report._build(str(own / "run"))
            text = report._page(str(own / "run"), parts, {})["index.html"].decode()
            for table in parts.tables:
                for render in (report.render.markdown, report.render.csv, report.render.tex):
                    render(table)
        assert damage.MARKUP not in text and "<img src=x" not in text, fields

    return case


_PLANNED = {
    "key": "two_room.lewm.s1",
    "config_hash": "0123456789abcdef",
    "task": "two_room",
    "method": "lewm",
    "variant": "",
    "seed": 1,
    "stages": ["train"],
    "task_label": "Two-Room",
    "method_label": "LeWM",
    "estimate_s": 3.0,
    "planned": 5.0,
}


def _plans(folder: Path) -> Case:
    _write_run(folder / "run", frames=False)
    tables = load.load(str(folder / "run"))
    content = {"trials": [_PLANNED], "protocols": {"lewm-v3": {"protocol.pairs": {"toy": "1"}}}}
    mark = {"stage": "train", "done": 1, "total": 2, "at": 3.0}

    def case(rng: random.Random, own: Path) -> None:
        written = damage.dumped(rng, damage.tree(rng, content, own))
        Path(plan.FILE).write_bytes(damage.data(rng, written) if rng.random() < 0.2 else written)
        running = own / "trials" / "two_room.lewm.s1.01234567"
        running.mkdir(parents=True)
        marked = damage.dumped(rng, damage.tree(rng, mark, own))
        (running / plan.RUNNING).write_bytes(marked)
        state = progress.read(str(own))
        progress.holes(tables, state)
        progress.counts(tables, state)
        plan.write(str(own), state.plan)

    return case


# -- weights


def _weights(folder: Path) -> Case:
    tensors = torch.load(GOLDEN / "weights.pt", weights_only=True)
    safe = safetensors.torch.save({n: v.contiguous() for n, v in tensors.items()})
    torched = (GOLDEN / "weights.pt").read_bytes()
    sizes = json.loads((GOLDEN / "config.json").read_text())

    def case(rng: random.Random, own: Path) -> None:
        name = rng.choice(["weights.pt", "model.safetensors"])
        content = torched if name.endswith(".pt") else safe
        deed = rng.random()
        if deed < 0.5:
            content = damage.data(rng, content)
        elif deed < 0.7 and name.endswith(".safetensors"):
            content = _other_header(rng, content, own)
        elif deed < 0.8:
            content = _other_state(rng, tensors, own)
            name = "weights.pt"
        Path(name).write_bytes(content)
        if rng.random() < 0.9:
            Path("config.json").write_bytes(damage.dumped(rng, damage.tree(rng, sizes, own)))
        if rng.random() < 0.02:
            with contextlib.suppress(OSError, ValueError):
                Path(damage.text(rng, own)[:50] + ".pt").write_bytes(torched)
        file = weight_files.find(str(own), "push_t")
        base = zoo.METHODS["lewm"].config()
        weight_files.sized(base, file, 24, 10)
        weight_files.read(file.path, file.sha256)

    return case


def _other_header(rng: random.Random, content: bytes, own: Path) -> bytes:
    """safetensors whose header was tampered with: other shapes, types, offsets, names."""
    size = int.from_bytes(content[:8], "little")
    header = damage.tree(rng, json.loads(content[8 : 8 + size]), own)
    text = damage.dumped(rng, header)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _other_state(rng: random.Random, tensors: dict, own: Path) -> bytes:
    """What torch.save makes of something else than a state_dict."""
    name = rng.choice(list(tensors))
    others = [
        {**tensors, name: damage.Planted()},
        [*tensors.values()],
        {**tensors, name: 3},
        {**tensors, 3: tensors[name]},
        {**tensors, name: tensors[name][None]},
        {**tensors, name: tensors[name].flatten()[:0]},
        {**tensors, name: tensors[name] * float("nan")},
        {**tensors, name: tensors[name].to(torch.complex64)},
        {**tensors, damage.text(rng, own): tensors[name]},
        {"state_dict": tensors},
        {k: v for k, v in tensors.items() if k != name},
        {**tensors, name: tensors[name].to_sparse()},
        None,
    ]
    sink = io.BytesIO()
    torch.save(rng.choice(others), sink)
    return sink.getvalue()


def _checkpoints(folder: Path) -> Case:
    spec = tiny.spec("lewm")
    model, other = tiny.model(spec), tiny.model(spec, seed=1)
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    saved = Checkpoint(str(folder), "hash", {"dataset": "d"})
    saved.save_training(model, optimizer, 3, 1.0, [("loss", 1, 0.5)])
    saved.finish(model, "config: {}")
    files = {name: (folder / name).read_bytes() for name in ("training.pt", "weights.safetensors")}
    state = torch.load(folder / "training.pt", weights_only=True)

    def case(rng: random.Random, own: Path) -> None:
        name = rng.choice(list(files))
        content = damage.data(rng, files[name])
        deed = rng.random()
        if deed < 0.2 and name.endswith("safetensors"):
            content = _other_header(rng, files[name], own)
        elif deed < 0.4 and name == "training.pt":
            part = rng.choice(list(state))
            values = [damage.Planted(), None, [], 3, "x", {}, state["model"], [3, 1.0], [3, 1.0, 5]]
            sink = io.BytesIO()
            torch.save({**state, part: rng.choice(values)}, sink)
            content = sink.getvalue()
        Path(name).write_bytes(content)
        again = Checkpoint(str(own), "hash", {"dataset": "d"})
        adam = torch.optim.AdamW(other.parameters())
        if name == "training.pt":
            again.load_training(other, adam)
        else:
            again.load_weights(other)

    return case


def _frozen_encoders(folder: Path) -> Case:
    origin = Path(frozen.SHIPPED)
    config_json = json.loads((origin / "config.json").read_text())
    content = (origin / "model.safetensors").read_bytes()

    def case(rng: random.Random, own: Path) -> None:
        place = own / "encoder"
        place.mkdir()
        other = damage.tree(rng, config_json, own) if rng.random() < 0.7 else config_json
        (place / "config.json").write_bytes(damage.dumped(rng, other))
        deed = rng.random()
        weights = content if deed < 0.6 else damage.data(rng, content)
        weights = _other_header(rng, content, own) if deed > 0.8 else weights
        (place / "model.safetensors").write_bytes(weights)
        settings = frozen.FrozenConfig(weights=str(place))
        settings.note  # noqa: B018
        if settings.unavailable_reason("method.dino_wm"):
            raise ConfigError(settings.unavailable_reason("method.dino_wm"))

    return case


def _token_files(folder: Path) -> Case:
    facts = {"format": 1, "dataset": "d", "encoder": "e", "shape": [4, 2, 3]}

    def case(rng: random.Random, own: Path) -> None:
        Path(features.MANIFEST).write_bytes(damage.dumped(rng, damage.tree(rng, facts, own)))
        Path(features.ARRAY).write_bytes(bytes(rng.choice([48, 48, 47, 0, 96])))
        features._mapped(str(own), facts)

    return case


# -- studies and published numbers


def _studies(folder: Path) -> Case:
    words = ["task=toy", "method=lewm", "scale=tiny", "device=cpu", "space.train.lr=log:0.001:0.1"]
    words += ["run=s", "trials=2"]
    (folder / "s").mkdir()
    sweep = space.parse([*words, f"results={folder}"])
    study = search.open_study(sweep)
    for value in (0.1, 0.9):
        suggestion = study.ask(sweep.space)
        suggestion.set_user_attr("interval", [0.0, 1.0])
        study.tell(suggestion, value)
    study._storage._backend.engine.dispose()
    file = folder / "s" / search.STUDY_FILE
    with contextlib.closing(sqlite3.connect(file)) as base:
        names = [n for (n,) in base.execute("select name from sqlite_master where type='table'")]
        columns = [(t, c[1]) for t in names for c in base.execute(f"pragma table_info({t})")]

    def case(rng: random.Random, own: Path) -> None:
        (own / "s").mkdir()
        copy = shutil.copy(file, own / "s" / search.STUDY_FILE)
        if rng.random() < 0.4:
            Path(copy).write_bytes(damage.data(rng, file.read_bytes()))
        else:
            table, column = rng.choice(columns)
            values = [
                damage.text(rng, own).replace("\ud800", "?"),
                damage.planted(),
                None,
                -1,
                2.5,
                10**12,
            ]
            with (
                contextlib.closing(sqlite3.connect(copy)) as base,
                contextlib.suppress(sqlite3.Error),
            ):
                if rng.random() < 0.1:
                    base.execute(f"drop table {table}")
                else:
                    base.execute(f"update {table} set {column} = ?", (rng.choice(values),))
                base.commit()
        again = dataclasses.replace(sweep, run=dataclasses.replace(sweep.run, results=str(own)))
        search.standing(again, search.open_study(again))

    return case


def _published_files(folder: Path) -> Case:
    files = {path.name: path.read_bytes() for path in published.FOLDER.glob("*.csv")}
    cell = pd.Series({"task": "push_t", "method": "lewm", "variant": "", "protocol": "lewm-v3"})

    def case(rng: random.Random, own: Path) -> None:
        for name, content in files.items():
            (own / name).write_bytes(content)
        name = rng.choice(list(files))
        if rng.random() < 0.5:
            content = damage.data(rng, files[name])
        else:
            lines = [line.split(",") for line in files[name].decode().splitlines()]
            line = rng.choice(lines)
            line[rng.randrange(len(line))] = damage.text(rng, own)
            content = "\n".join(map(",".join, lines)).encode(errors="surrogatepass")
        (own / name).write_bytes(content)
        published._read.cache_clear()
        published.FOLDER = own
        published.success(cell), published.plan_s(cell), published.probing(cell, "block")
        published.released("push_t", "lewm-v3"), published.released("push_t", "clear-strict")
        published.items(), published.ablation("dropout", "0.1"), published.plan_time()
        published.over_training_seeds("push_t", "lewm")

    return case


_COMMAND = (ConfigError, OSError, launch.LaunchError)
_DATA = (episodes.DatasetError, OSError)
KINDS = (
    Kind("words", "words of harness.run", _words, _COMMAND, 25),
    Kind("sweep", "words of harness.sweep", _sweep_words, _COMMAND, 8),
    Kind("yaml", "YAML of harness.trial", _yaml, _COMMAND, 12),
    Kind("dataset", "datasets: manifest and Arrow files", _datasets, _DATA, 10),
    Kind("pairs", "lists of pairs", _pair_lists, (ConfigError, pairs.PairError), 8),
    Kind("source", "other people's HDF5, folders and pickles", _source_files, _DATA, 6),
    Kind("parquet", "rows of a run", _parquet, (report.NoTrials, OSError), 10),
    Kind("page", "labels with markup, in page and tables", _pages, (report.NoTrials,), 4),
    Kind("plan", "plan.json and running.json", _plans, (), 5),
    Kind("weights", "weights of others", _weights, (weight_files.WeightsError,), 8),
    Kind("checkpoint", "checkpoints", _checkpoints, (CheckpointError,), 5),
    Kind("encoder", "folders of frozen encoders", _frozen_encoders, (ConfigError,), 3),
    Kind("tokens", "tokens beside a dataset", _token_files, _DATA, 3),
    Kind("study", "Optuna's storage", _studies, _COMMAND, 2),
    Kind("csv", "published numbers", _published_files, (), 4),
)
