"""Datasets of the hub are downloaded, resumed, compared and unpacked; a server here answers."""

import dataclasses
import io
import os
import tarfile

import foreign
import hub_server
import numpy as np
import pyarrow as pa
import pytest

from harness import zoo
from harness.data import collect, episodes, sources
from harness.data.episodes import DatasetError
from harness.data.sources import hub

REPO = f"hf:{hub_server.REPO}"
BLOCK = 1000  # bytes of a request


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The bytes of an HDF5 file of Push-T."""
    root = tmp_path_factory.mktemp("own")
    ours = foreign.recorded("push_t", root, episodes=4, steps=10, size=16)
    path = foreign.hdf5(root / "a.h5", foreign.all_columns("push_t", ours, True))
    with open(path, "rb") as source:
        return source.read()


@pytest.fixture
def serving(monkeypatch):
    """A function that serves files until the test ends."""
    opened = []

    def serve(files):
        opened.append(hub_server.serving(files))
        server = opened[-1].__enter__()
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        return server

    yield serve
    for context in opened:
        context.__exit__(None, None, None)


def zst(content):
    return pa.Codec("zstd").compress(content, asbytes=True)


def tar(content):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, text in (("notes.txt", b"x" * 3000), ("data/pusht.h5", content)):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return sink.getvalue()


PACKED = {
    "pusht.h5": lambda content: content,
    "pusht.h5.zst": zst,
    "two frames.h5.zst": lambda content: zst(content[:5000]) + zst(content[5000:]),
    "pusht.tar.zst": lambda content: zst(tar(content)),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_dataset_of_the_hub_is_imported(tmp_path, serving, file, name):
    server = serving({"README.md": b"text", name: PACKED[name](file)})
    config = collect.DataConfig(9, 99, image_size=16, source=REPO, validation=0, test=0)
    folder = collect.ensure(zoo.TASKS["push_t"], config, str(tmp_path))
    dataset = episodes.open_dataset(folder)
    assert len(dataset.lengths) == 4 and dataset.manifest.config["source"] == REPO
    (downloaded,) = (tmp_path / "hub").iterdir()
    (only,) = [path for path in downloaded.rglob("*") if path.is_file()]
    assert only.read_bytes() == file  # the compressed file is gone
    read = len(server.sent)
    assert sources.local(REPO, str(tmp_path)) == str(only) and len(server.sent) == read
    named = dataclasses.replace(config, source=f"{REPO}@main/{name}")
    other = episodes.open_dataset(collect.ensure(zoo.TASKS["push_t"], named, str(tmp_path)))
    assert other.hash == dataset.hash and len(server.sent) == read


def test_a_table_of_the_hub_is_downloaded_whole(tmp_path, serving, file):
    pytest.importorskip("lance")
    ours = foreign.recorded("push_t", tmp_path / "own", episodes=4, steps=10, size=16)
    foreign.lance_table(tmp_path / "a.lance", foreign.all_columns("push_t", ours, True))
    paths = [path for path in (tmp_path / "a.lance").rglob("*") if path.is_file()]
    serving({str(path.relative_to(tmp_path)): path.read_bytes() for path in paths})
    table = sources.open_source(sources.local(REPO, str(tmp_path / "data")))
    assert table.lengths.tolist() == [10] * 4 and table.columns["state"] == 7


def test_an_interrupted_download_goes_on_where_it_was(tmp_path, serving, file, monkeypatch):
    server = serving({"pusht.h5": file})
    monkeypatch.setattr(hub, "_BLOCK", BLOCK)
    advance = hub.Display.advance

    def interrupted(*_):
        if len(server.sent) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(hub.Display, "advance", interrupted)
        sources.local(REPO, str(tmp_path))
    assert advance is hub.Display.advance
    (half,) = tmp_path.rglob("*.half")
    there = half.stat().st_size
    assert 0 < there < len(file)
    del server.sent[:]
    path = sources.local(REPO, str(tmp_path))
    with open(path, "rb") as source:
        assert source.read() == file
    assert min(first for _, first, _ in server.sent) == there


def refused(place, root):
    with pytest.raises(DatasetError) as caught:
        sources.local(place, str(root))
    assert "\n" not in str(caught.value) and not list(root.rglob("*.half"))
    return str(caught.value)


def test_a_checksum_that_differs(tmp_path, serving, file):
    server = serving({"pusht.h5.zst": zst(file)})
    server.sums["pusht.h5.zst"] = "0" * 64
    said = refused(REPO, tmp_path)
    assert "pusht.h5.zst has" in said and "the hub says" in said and "it was deleted" in said
    assert not list(tmp_path.rglob("*.zst"))
    del server.sums["pusht.h5.zst"]
    assert sources.open_source(sources.local(REPO, str(tmp_path))).lengths.tolist() == [10] * 4


def test_a_damaged_archive(tmp_path, serving, file):
    serving({"pusht.h5.zst": zst(file)[:-100]})
    assert "cannot be unpacked" in refused(REPO, tmp_path)
    serving({"pusht.tar.zst": zst(b"no archive" * 1000)})
    assert "cannot be unpacked" in refused(REPO, tmp_path)


@pytest.mark.parametrize("place", ["hf:owner/other", f"{REPO}@v9"])
def test_what_the_hub_does_not_have(tmp_path, serving, place):
    serving({"a.h5": b""})
    said = refused(place, tmp_path)
    assert said.startswith(f"{place} cannot be had:") and "404" in said


def test_a_file_that_a_repository_does_not_have(tmp_path, serving):
    serving({"a.h5": b"", "b.h5": b"", "c.lance/data/0": b""})
    assert "has no x.h5; the repository has a.h5, b.h5, c.lance" in refused(
        f"{REPO}/x.h5", tmp_path
    )
    assert "has several" in refused(REPO, tmp_path)
    serving({"README.md": b""})
    assert "has no dataset" in refused(REPO, tmp_path)


def test_a_hub_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be had" in refused(REPO, tmp_path)


@pytest.mark.parametrize("place", ["hf:", "hf:name", "hf:owner/na me"])
def test_a_name_that_is_none(tmp_path, place):
    assert "is not of the form hf:OWNER/NAME" in refused(place, tmp_path)


def test_a_full_disk_while_unpacking_leaves_the_download(tmp_path, serving, file, monkeypatch):
    serving({"pusht.h5.zst": zst(file)})

    def full(source, sink, size):
        sink.write(source.read(100))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(hub.shutil, "copyfileobj", full)
        sources.local(REPO, str(tmp_path))
    assert not list(tmp_path.rglob("*.half")) and list(tmp_path.rglob("pusht.h5.zst"))
    with open(sources.local(REPO, str(tmp_path)), "rb") as source:
        assert source.read() == file
    assert not any(name.endswith(".part") for name in os.listdir(tmp_path))


def test_room_is_asked_for_before_a_download(tmp_path, serving, file, monkeypatch):
    server = serving({"pusht.h5": file})
    usage = hub.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="disk full"):
        sources.local(REPO, str(tmp_path))
    assert server.sent == [] and np.all([p.is_dir() for p in tmp_path.iterdir()])
