"""Every fault that `python -m harness.verify` is for, planted into a real run of tiny trials."""

import dataclasses
import json
import shutil

import pyarrow.parquet as pq
import pytest

from harness import run
from harness.records import rows, run_tables
from harness.runtime import provenance
from harness.training import checkpoint
from harness.verify import __main__ as verify
from harness.verify import against, record

WORDS = ["suite=smoke", "scale=tiny", "device=cpu", "backend=loop", "data.episodes=24"]
METHODS = ["methods=[lewm,random]", "seeds=2"]
LEWM, OTHER_LEWM, RANDOM = "toy.lewm.s0", "toy.lewm.s1", "toy.random.s0"
EVERY_EPISODE = 12


def run_tiny(folder, *words):
    words = [*WORDS, *words, f"results={folder}", f"datasets={folder}/data"]
    assert run.main(words) == 0


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with the run `r` and its data."""
    folder = tmp_path_factory.mktemp("verified")
    run_tiny(folder, *METHODS, "protocol.pairs=4", "run=r")
    return folder


@pytest.fixture
def place(original, tmp_path):
    """A copy of the run and its data, into which a fault can be planted."""
    shutil.copytree(original, tmp_path / "v")
    return tmp_path / "v"


def read(place, name="r"):
    return record.read(f"{place}/{name}", f"{place}/data")


def checks(place, sample=0):
    """The faults of the run, by check: lines "where: what"."""
    found = verify.verify(read(place), sample)
    return {c.name: [f"{n.place}: {n.text}" for n in c.faults] for c in found if c.faults}


def trial_folder(place, key):
    (folder,) = (place / "r" / "trials").glob(f"{key}.*")
    return folder


def edit(file, column, change):
    """Change the first cell of a column, and nothing else."""
    table = pq.read_table(file)
    values = table.column(column).to_pylist()
    values[0] = change(values[0])
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, table.field(at), [values]), file)


def rewrite(folder, **changes):
    """Change a trial's row and first episode as somebody who recomputes the digests does."""
    written = rows.read_back(str(folder))
    own = {name: value for name, value in changes.items() if hasattr(written.trial, name)}
    first, *others = written.episodes
    of_episode = {name: value for name, value in changes.items() if name not in own}
    episodes = [dataclasses.replace(first, **of_episode), *others]
    trial = dataclasses.replace(written.trial, **own)
    rows.write(str(folder), trial, episodes, written.metrics, written.frames)


def files(folder):
    """Every file and folder with its time of writing."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_a_run_as_it_was_left_has_no_fault(place, capsys):
    before = files(place)
    words = [f"{place}/r", f"datasets={place}/data", f"sample={EVERY_EPISODE}"]
    assert verify.main(words) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("verified r, commit ") and last.endswith(
        "not checked: figures; no fault"
    )
    for part in ("presence of 3 trials", "replay of 12 episodes", "checksums of 2 weight files"):
        assert part in last
    assert "contents of 1 dataset," in last and "draw of 12 pairs" in last
    assert files(place) == before  # it only reads


def test_what_is_not_there_is_said(place, capsys):
    shutil.rmtree(place / "data")
    shutil.rmtree(trial_folder(place, LEWM) / "checkpoint")
    (trial_folder(place, RANDOM) / "frames.parquet").unlink()
    assert verify.main([f"{place}/r", f"datasets={place}/data"]) == 0
    said = capsys.readouterr().out
    assert f"{trial_folder(place, LEWM).name}: its weights are not there" in said
    assert f"data of toy: they are not in {place}/data" in said
    assert f"{trial_folder(place, RANDOM).name}: its pictures are not there" in said
    assert "not checked: figures, digests (1), contents (1), checksums (1), replay (3)" in said


@pytest.mark.parametrize(
    ("table", "column", "change"),
    [
        ("episodes", "success", lambda value: not value),
        ("episodes", "solve_s", lambda value: [*value, 1.0]),
        ("episodes", "dist_final", lambda value: value / 2),
        ("metrics", "value", lambda value: value + 1e-9),
        ("trial", "train_s", lambda value: value / 2),
        ("trial", "git_commit", lambda value: "0" * 40),
        ("frames", "image", lambda value: value[:-1] + b"x"),
    ],
)
def test_an_edited_cell(place, table, column, change):
    folder = trial_folder(place, LEWM)
    edit(folder / f"{table}.parquet", column, change)
    assert checks(place)["digests"] == [f"{folder.name}: {table}.parquet is not as it was written"]


def test_a_rewritten_table_of_the_same_values_is_no_fault(place):
    file = trial_folder(place, LEWM) / "metrics.parquet"
    pq.read_table(file).to_pandas().to_parquet(file)
    assert checks(place) == {}


def test_an_edited_cell_whose_digest_was_recomputed_is_found_by_replaying(place):
    """Success with everything that follows from it, which no other check can tell."""
    folder = trial_folder(place, RANDOM)
    written = rows.read_back(str(folder)).episodes[0]
    near = written.dist_min / 2
    rewrite(folder, dist_min=near, dist_final=max(near, written.dist_final / 2))
    assert set(checks(place)) <= {"tables"}
    found = checks(place, sample=EVERY_EPISODE)["replay"]
    assert len(found) == 2 and f"pair {written.pair_id} replayed has dist_min" in found[0]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"success": True, "success_ever": False}, "success is success_final where"),
        ({"first_hit_step": 10_000}, "first_hit_step is in the budget"),
        ({"dist_min": 1e9}, "dist_min is the least"),
        ({"replans": 77}, "replans fit the steps"),
        ({"stratum": "hard"}, "stratum is one of the task's"),
        ({"start_step": 3_000}, "1 of its pairs are not those of the other methods"),
        ({"pair_id": 3}, "a pair has two rows"),
        ({"sample": "stratum"}, "[3] pairs a seed, where the protocol has 4"),
        ({"eval_s": 0.0}, "all of them together 0.0 s"),
        ({"train_steps": 1}, "train_steps is 1, and its configuration asks for"),
        ({"checkpoint_hash": ""}, "a trained method has weights"),
    ],
)
def test_rows_that_contradict_each_other(place, change, rule):
    """Also where their digests fit, and in rows that are older than digests."""
    rewrite(trial_folder(place, LEWM), **change)
    assert any(rule in text for text in checks(place)["consistency"])


def test_swapped_weights(place):
    ours, theirs = (
        trial_folder(place, key) / "checkpoint" / checkpoint.WEIGHTS for key in (LEWM, OTHER_LEWM)
    )
    kept = ours.read_bytes()
    ours.write_bytes(theirs.read_bytes())
    theirs.write_bytes(kept)
    found = checks(place)["checksums"]
    assert [text.partition(":")[0] for text in found] == [
        ours.parent.parent.name,
        theirs.parent.parent.name,
    ]


def test_swapped_weights_whose_checksum_was_recomputed_are_found_by_replaying(place):
    ours, theirs = (trial_folder(place, key) for key in (LEWM, OTHER_LEWM))
    shutil.copy(theirs / "checkpoint" / checkpoint.WEIGHTS, ours / "checkpoint")
    rewrite(ours, checkpoint_hash=rows.read_trial(str(theirs)).checkpoint_hash)
    assert "checksums" not in checks(place)
    (text,) = checks(place, sample=EVERY_EPISODE)["replay"]
    assert text.startswith(f"{ours.name}: it cannot be replayed") and "configuration" in text


@pytest.mark.parametrize("planned", [True, False])
def test_a_missing_trial(place, planned):
    """Without a plan, the tables miss it."""
    folder = trial_folder(place, OTHER_LEWM)
    shutil.rmtree(folder)
    if planned:
        text = f"{folder.name}: missing: the plan has it, and it has no rows"
        assert checks(place)["presence"] == [text]
    else:
        (place / "r" / "plan.json").unlink()
        assert any("tables/success.csv" in text for text in checks(place)["tables"])


def test_a_trial_without_its_row(place):
    folder = trial_folder(place, LEWM)
    (folder / "trial.parquet").unlink()
    found = checks(place)["presence"]
    assert found == [f"{folder.name}: it has no trial.parquet, so it was not finished"]


@pytest.mark.parametrize("column", ["key", "config_hash"])
def test_a_trial_whose_row_has_another_name(place, column):
    folder = trial_folder(place, LEWM)
    edit(folder / "trial.parquet", column, lambda value: f"x{value}")
    assert checks(place)["presence"] == [f"{folder.name}: {run_tables.LEFT_OUT}"]


def test_a_failed_trial(place):
    folder = trial_folder(place, RANDOM)
    rewrite(folder, status="error", error="ValueError: no")
    assert f"{folder.name}: failed: ValueError: no" in checks(place)["presence"]


def test_rows_of_another_protocol(original, place):
    """The same trials under another protocol: one folder, one table, one name of a protocol."""
    run_tiny(place, "methods=[random]", "protocol.pairs=3", "run=other")
    (other,) = (place / "other" / "trials").iterdir()
    shutil.copytree(other, place / "r" / "trials" / other.name)
    found = checks(place)["presence"]
    assert found == [f"{other.name}: its row is of run other, the others of run r"]
    rewrite(place / "r" / "trials" / other.name, run="r")
    (text,) = checks(place)["presence"]
    assert text.startswith(f"{other.name}: of another protocol than the planned trials: smoke mod")
    shutil.rmtree(place / "r" / "trials" / other.name)

    mine = trial_folder(place, RANDOM)
    shutil.copy(other / "episodes.parquet", mine)
    found = checks(place)
    assert f"{mine.name}: episodes.parquet is not as it was written" in found["digests"]
    assert f"{mine.name}: [3] pairs a seed, where the protocol has 4" in found["consistency"]
    shutil.copy(original / "r" / "trials" / mine.name / "episodes.parquet", mine)

    edit(mine / "trial.parquet", "protocol", lambda name: "lewm-v3")
    assert checks(place)["hashes"] == [f"{mine.name}: its configuration makes another protocol"]


def test_rows_of_another_version_of_the_code_are_no_fault(place):
    """Their hashes cannot be made here, but their digests say that nobody has changed them."""
    folder = trial_folder(place, RANDOM)
    rewrite(folder, setting_hash="0" * 64, git_commit="1" * 40)
    found = verify.identities.hashes(read(place))
    assert not found.faults and found.checked == 2
    assert [note.place for note in found.skipped] == [folder.name]
    rewrite(folder, setting_hash="0" * 64, git_commit=provenance.git()[0])
    (text,) = checks(place)["hashes"]
    assert text == f"{folder.name}: its configuration makes another setting_hash"


def test_changed_data(place):
    """A picture, or the whole dataset with a manifest that fits it."""
    (folder,) = (place / "data").glob("toy-*")
    file = folder / "00000.arrow"
    whole = file.read_bytes()
    at = len(whole) // 2
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    text = f"{folder}: 00000.arrow has other contents than its manifest"
    assert checks(place)["contents"] == [text]
    file.write_bytes(whole)

    run_tiny(place, "methods=[random]", "protocol.pairs=4", "data.seed=1", "run=other")
    (other,) = set((place / "data").glob("toy-*")) - {folder}
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["config"]["seed"] = 0
    (other / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(folder)
    other.rename(folder)
    found = checks(place)["contents"]
    assert len(found) == 3 and all("it read other data than" in text for text in found)


def test_pairs_that_the_protocol_does_not_draw(place):
    for key in (LEWM, OTHER_LEWM, RANDOM):
        rewrite(trial_folder(place, key), start_step=3_000)
    found = checks(place)
    assert "consistency" not in found and len(found["draw"]) == 6


def test_tables_that_no_rows_make(place):
    tables = place / "r" / "tables"
    csv, markdown = tables / "success.csv", tables / "success.md"
    csv.write_text(csv.read_text().replace("lewm", "better", 1))
    lines = markdown.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("| Random"))
    lines[row] = lines[row].replace("| ", "| 1", 2)
    markdown.write_text("\n".join(lines) + "\n")
    (tables / "mine.csv").write_text("method,success\nmine,100\n")
    found = checks(place)["tables"]
    assert len(found) == 3
    assert "tables/mine.csv: no rows make this table" in found
    assert any("success.md" in text and f"in line {row + 1}, cell" in text for text in found)
    assert any("success.csv: 1 of its cells" in text for text in found)


def test_a_compacted_copy_with_other_rows(place, monkeypatch):
    """Reports read it in place of the trials' own files."""
    monkeypatch.setattr(run_tables, "WORTH_COMPACTING", 1)
    monkeypatch.setattr(run_tables.compact, "_SETTLED_S", 0.0)
    run_tables.read(f"{place}/r", compacting=True)
    assert checks(place) == {}
    file = place / "r" / "compact" / "episodes.parquet"
    metadata = pq.read_schema(file).metadata
    edit(file, "success", lambda value: not value)
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)
    (text,) = checks(place)["copies"]
    assert text.startswith("compact/episodes.parquet: its rows of toy.")


def test_a_frozen_encoder_is_never_trained_for_a_replay(tmp_path):
    words = ["methods=[dino_wm]", "protocol.pairs=4", "train.steps=4", "data.max_steps=40"]
    encoder = {"weights": "mae", "encoder_patch": 8, "mae.tasks": "[toy]", "mae.steps": 4}
    run_tiny(tmp_path, *words, *(f"method.dino_wm.{k}={v}" for k, v in encoder.items()), "run=r")
    (folder,) = (tmp_path / "data").glob("mae-*")
    found = {c.name: c for c in verify.verify(read(tmp_path), sample=2)}
    assert found["replay"].checked == 2 and not any(c.faults for c in found.values())
    shutil.rmtree(folder)
    replayed = verify.verify(read(tmp_path), sample=2)[-1]
    assert replayed.checked == 0 and not folder.exists()
    assert [n.text for n in replayed.skipped] == ["not replayed: its frozen encoder is not there"]


# -- two machines


def test_two_runs_of_the_same_numbers(original, place, capsys):
    other = place / "r2"
    shutil.copytree(place / "r", other)
    for trial in (other / "trials").iterdir():  # times are the machine's
        edit(trial / "episodes.parquet", "env_s", lambda value: value + 1e-6)
    words = [f"{place}/r", f"datasets={place}/data", "sample=0"]
    assert verify.main([*words, "--against", f"{other}"]) == 1  # their digests say so
    said = capsys.readouterr().out.strip().splitlines()
    assert said[-1].startswith(
        "r against r2: 3 trials in both, 3 equal bit for bit, 0 differ within the protocol; "
        "success of 2 methods and tasks differs by 0.0 points"
    )
    assert said[-2].startswith("verified r2, ") and said[-2].endswith("3 FAULTS")
    assert said[-3].startswith("verified r, ") and said[-3].endswith("no fault")


def test_two_machines_differ(place):
    shutil.copytree(place / "r", place / "r2")
    folder = place / "r2" / "trials" / trial_folder(place, RANDOM).name
    solved = rows.read_back(str(folder)).episodes[0].success
    rewrite(folder, success=not solved, success_ever=not solved, device="another CPU")
    shutil.rmtree(place / "r2" / "trials" / trial_folder(place, OTHER_LEWM).name)
    compared = against.runs(read(place), read(place, "r2"))
    assert compared.check.checked == 2 and not compared.check.faults
    assert [note.text for note in compared.check.skipped] == ["r2 has it not"]
    assert (
        "2 trials in both, 1 equal bit for bit, 1 differ within the protocol (episodes of 1)"
        in (compared.line)
    )
    assert "25 at most" in compared.line


def test_other_numbers_of_the_same_machine_are_a_fault(place, monkeypatch):
    shutil.copytree(place / "r", place / "r2")
    folder = trial_folder(place, RANDOM)
    for run_folder in ("r", "r2"):
        rewrite(place / run_folder / "trials" / folder.name, git_dirty=False)
    rewrite(place / "r2" / "trials" / folder.name, dist_final=0.5)
    (fault,) = against.runs(read(place), read(place, "r2")).check.faults
    assert fault.place == folder.name and fault.text.endswith("not equal in episodes")


# -- words


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *(([], 2), (["r", "s"], 2), (["r", "samples=3"], 2), (["r", "sample=-1"], 2)),
        *((["r/", "against=r"], 2), (["none"], 1)),
    ],
)
def test_words_that_make_no_sense(words, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert verify.main(words) == code
    assert "Traceback" not in capsys.readouterr().err
