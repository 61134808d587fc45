"""Files that stable-worldmodel's own writers made, where its package is installed: elsewhere the
same layouts are written by tests/foreign.py.
"""

import importlib.util
import sys
import types

import foreign
import numpy as np
import pytest

from harness import zoo
from harness.data import collect, episodes

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("stable_worldmodel") is None,
    reason="stable-worldmodel is not installed",
)
WRITERS = {"hdf5": "HDF5Writer", "lance": "LanceWriter", "folder": "FolderWriter"}
NAMES = {"hdf5": "a.h5", "lance": "a.lance", "folder": "a"}


@pytest.fixture
def writer(monkeypatch):
    """The writer of a format."""
    if importlib.util.find_spec("torchvision") is None:
        stand_in = types.ModuleType("torchvision.tv_tensors")
        stand_in.Image, stand_in.Video = type("Image", (), {}), type("Video", (), {})
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.tv_tensors", stand_in)

    def of(name):
        module = importlib.import_module(f"stable_worldmodel.data.formats.{name}")
        return getattr(module, WRITERS[name])

    return of


@pytest.mark.parametrize("name", WRITERS)
def test_what_the_peer_writes_is_imported(tmp_path, writer, name):
    ours = foreign.recorded("push_t", tmp_path / "own", episodes=8, steps=12)
    nan_last = name != "lance"  # its writer refuses NaN
    columns = foreign.all_columns("push_t", ours, nan_last)
    place = tmp_path / NAMES[name]
    with writer(name)(place, mode="overwrite") as sink:
        for episode in columns:
            sink.write_episode({key: list(values) for key, values in episode.items()})
    config = collect.DataConfig(99, 99, 32, source=str(place), validation=0, test=0)
    folder = collect.ensure(zoo.TASKS["push_t"], config, str(tmp_path / "data"))
    theirs = episodes.open_dataset(folder)
    assert theirs.lengths.tolist() == ours.lengths.tolist()
    assert np.allclose(theirs.state[:, :7], ours.state[:, :7], atol=2e-5)
    assert np.array_equal(theirs.actions[theirs.acted], ours.actions[theirs.acted])
    assert (~theirs.acted).sum() == 8 * nan_last
    rows = np.arange(len(ours.state))
    apart = np.abs(theirs.read_pixels(rows).astype(int) - ours.read_pixels(rows))
    assert apart.mean() <= (0 if name == "hdf5" else 3)
