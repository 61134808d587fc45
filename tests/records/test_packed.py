"""Packed runs: one file a table, read as the trials' own files were."""

import dataclasses
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import export
from harness.records import packed, rows, run_tables

NAMES = [rows.folder_name(f"toy.lewm.s{seed}", "hash") for seed in range(3)]


def trial(key, **fields):
    words = ("toy", "lewm", "", int(key[-1]), "tiny", "smoke", "p")
    return rows.TrialRow(key, "r", "smoke", *words, "hash", "setting", "", "ok", **fields)


def write(run, seed, error=""):
    """A trial with `seed` episodes, so that the first has none; the second has pictures."""
    key = f"toy.lewm.s{seed}"
    values = ("test", 0, 0, 1, 2, "", "pairs", False, True, True, False, 3, 1.0, 0.1, 0.2, 2)
    episodes = [dataclasses.replace(rows.EpisodeRow(key, *values), pair_id=i) for i in range(seed)]
    metrics = [rows.MetricRow(key, "train", "loss", i, 0.5, "") for i in range(3)]
    shown = [rows.FrameRow(key, 3, "all", "start", 0, False, b"\x89PNG\x00one")] * (seed == 1)
    folder = run / "trials" / rows.folder_name(key, "hash")
    rows.write(str(folder), trial(key, error=error), episodes, metrics, shown)


@pytest.fixture
def run(tmp_path):
    for seed in range(3):
        write(tmp_path / "run", seed)
    return tmp_path / "run"


@pytest.fixture
def kept(run):
    """The same run, packed, without the trials' own files."""
    assert run_tables.pack(str(run), str(run.parent / "kept")) == 3
    return run.parent / "kept"


def folder(run, name):
    return str(run / "trials" / name)


def test_a_packed_run_reads_as_its_trials_did(run, kept):
    names = sorted(path.name for path in (kept / "packed").iterdir())
    assert names == ["episodes.parquet", "frames.parquet", "metrics.parquet", "trial.parquet"]
    assert run_tables.names(str(kept)) == run_tables.names(str(run)) == NAMES
    ours, theirs = run_tables.read(str(kept)), run_tables.read(str(run))
    for table in rows.FILES:
        assert getattr(ours, table).equals(getattr(theirs, table))
    assert ours.pictured == theirs.pictured == (NAMES[1],)
    assert run_tables.frames(str(kept)).equals(run_tables.frames(str(run)))
    for name in NAMES:
        assert rows.read_back(folder(kept, name)) == rows.read_back(folder(run, name))
        assert rows.changed(rows.read_back(folder(kept, name))) == []
        assert rows.is_done(folder(kept, name), "hash")
        assert run_tables.read_one(folder(kept, name)).metrics.equals(
            run_tables.read_one(folder(run, name)).metrics
        )
    assert rows.read_trial(folder(kept, "toy.lewm.s9.hash")) is None


def test_pictures_can_be_left_out(run, tmp_path):
    words = [str(run), "format=packed", f"to={tmp_path / 'small'}", "pictures=false"]
    assert export.main(words) == 0
    assert not (tmp_path / "small/packed/frames.parquet").exists()
    written = rows.read_back(folder(tmp_path / "small", NAMES[1]))
    assert written.frames == [] and rows.changed(written) == []


def test_a_trial_s_own_files_come_before_packed_rows(kept):
    write(kept, 1, error="again")
    found = run_tables.read(str(kept)).trial.set_index("key")["error"]
    assert found.to_dict() == {"toy.lewm.s0": "", "toy.lewm.s1": "again", "toy.lewm.s2": ""}


def test_a_changed_cell_is_found(kept):
    path = kept / "packed" / "episodes.parquet"
    table = pq.read_table(path)
    solved = pa.array([False, *table.column("success").to_pylist()[1:]])
    pq.write_table(table.set_column(table.column_names.index("success"), "success", solved), path)
    assert [rows.changed(rows.read_back(folder(kept, n))) for n in NAMES] == [[], ["episodes"], []]


@pytest.mark.parametrize("name", ["..", "a/b", "../../elsewhere", "", None])
def test_no_name_leads_out_of_the_run(kept, name):
    path = kept / "packed" / "trial.parquet"
    table = pq.read_table(path)
    column = pa.array([name] * table.num_rows, pa.string())
    pq.write_table(table.set_column(0, "folder", column), path)
    with pytest.raises(OSError, match="is no name of a trial's folder"):
        run_tables.read(str(kept))


def test_a_damaged_file_is_named(kept):
    (kept / "packed" / "metrics.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(OSError, match=r"packed/metrics.parquet cannot be read"):
        run_tables.read(str(kept))


def test_what_cannot_be_packed_is_said(run, tmp_path, capsys):
    words = ["format=packed", f"to={tmp_path / 'there'}"]
    assert export.main([str(tmp_path / "nothing"), *words]) == 1
    assert "holds no trials: give the folder of a run" in capsys.readouterr().err
    (run / "trials" / NAMES[0] / "metrics.parquet").write_bytes(b"half a fi")
    assert export.main([str(run), *words]) == 1
    assert f"{NAMES[0]} cannot be packed" in capsys.readouterr().err
    shutil.rmtree(run / "trials" / NAMES[0])
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine").touch()
    assert export.main([str(run), *words]) == 1
    assert "holds mine: give another to=FOLDER" in capsys.readouterr().err
    assert packed.FOLDER not in [path.name for path in (tmp_path / "there").iterdir()]
