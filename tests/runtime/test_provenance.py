"""The commit in the rows is that of the code that runs, wherever it is installed."""

import json
import logging
import subprocess

import pytest
import repositories

from harness.runtime import provenance


@pytest.fixture
def found(monkeypatch, caplog):
    """Ask for the commit of the code in a folder: (commit, changed, lines of the log)."""

    def ask(root):
        caplog.clear()
        monkeypatch.setattr(provenance, "_ROOT", root.resolve())
        provenance.git.cache_clear()
        with caplog.at_level(logging.WARNING):
            commit, changed = provenance.git()
        provenance.git()  # the line is logged once
        provenance.git.cache_clear()
        return commit, changed, [record.getMessage() for record in caplog.records]

    return ask


def install(site, origin):
    """What pip leaves of jepa-bench in the folder `site`."""
    about = site / "jepa_bench-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: jepa-bench\nVersion: 0.1.0\n")
    if origin:
        (about / "direct_url.json").write_text(json.dumps(origin))
    (site / "harness").mkdir(exist_ok=True)
    (site / "harness" / "provenance.py").touch()


def test_a_checkout_has_its_commit_and_says_whether_it_was_changed(tmp_path, found):
    commit = repositories.checkout(tmp_path)
    assert found(tmp_path) == (commit, False, [])
    (tmp_path / "notes").write_text("untracked")
    assert found(tmp_path) == (commit, False, [])
    (tmp_path / "harness" / "runtime" / "provenance.py").write_text("changed")
    assert found(tmp_path) == (commit, True, [])


def test_a_folder_of_a_larger_repository_has_its_commit_but_not_its_changes(tmp_path, found):
    repositories.checkout(tmp_path / "all" / "vendor")
    (tmp_path / "all" / "vendor" / ".git").rename(tmp_path / "all" / ".git")
    (tmp_path / "all" / "readme").write_text("")
    subprocess.run(["git", "-C", str(tmp_path / "all"), "add", "."], check=True)
    commit = repositories.commit(tmp_path / "all", "moved")
    (tmp_path / "all" / "readme").write_text("changed")
    assert found(tmp_path / "all" / "vendor") == (commit, False, [])


@pytest.mark.parametrize("revision", ["c" * 40, ""])
def test_code_installed_inside_another_repository_has_not_its_commit(
    tmp_path, found, revision, monkeypatch
):
    repositories.checkout(tmp_path / "theirs")
    site = tmp_path / "theirs" / ".venv" / "site-packages"
    vcs = {"vcs": "git", "commit_id": revision}
    install(site, {"url": "https://x/y.git", "vcs_info": vcs} if revision else None)
    monkeypatch.syspath_prepend(str(site))
    commit, changed, lines = found(site)
    assert (commit, changed) == (revision or "jepa-bench 0.1.0", False)
    if revision:
        assert not lines
    else:
        (line,) = lines
        assert line.startswith("no commit can be recorded, the rows say jepa-bench 0.1.0 instead")


def test_an_editable_installation_outside_git_has_its_version(tmp_path, found, monkeypatch):
    code = tmp_path / "code"
    code.mkdir()
    install(tmp_path / "site", {"url": code.as_uri(), "dir_info": {"editable": True}})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert found(code)[0] == "jepa-bench 0.1.0"


def test_code_of_no_repository_and_no_distribution_has_nothing_and_a_line(tmp_path, found):
    commit, changed, (line,) = found(tmp_path)
    assert (commit, changed) == ("", False)
    assert line.startswith("no commit can be recorded, the rows say nothing (fatal: not a git")


def test_a_checkout_of_another_user_has_its_commit(tmp_path, found, monkeypatch):
    commit = repositories.checkout(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    plain = subprocess.run(["git", "-C", str(tmp_path), "log"], capture_output=True, text=True)
    assert "dubious ownership" in plain.stderr
    assert found(tmp_path) == (commit, False, [])


def test_variables_of_a_git_hook_do_not_lead_to_another_repository(tmp_path, found, monkeypatch):
    commit = repositories.checkout(tmp_path / "ours")
    repositories.checkout(tmp_path / "theirs")
    other = repositories.commit(tmp_path / "theirs", "second")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    assert found(tmp_path / "ours")[0] == commit != other
