"""How much was checked, in words."""

from __future__ import annotations

from harness.verify import __main__ as verify
from harness.verify import reported
from harness.verify.check import Check


def test_one_is_no_plural():
    assert [verify._count(n, "FAULT") for n in (0, 1, 2)] == ["0 FAULTS", "1 FAULT", "2 FAULTS"]
    assert [verify._count(n, "trial") for n in (1, 27)] == ["1 trial", "27 trials"]
    assert Check("contents", 1, "datasets").summary() == "contents of 1 dataset"
    assert Check("contents", 2, "datasets").counted == "datasets"


def test_the_name_of_a_copied_folder_is_no_fault():
    """Captions of tables say the folder's name, which is not of the rows."""
    texts = [f"| a | 1 |\n\nRun {name}, scale tiny: x.\n".encode() for name in ("one", "my copy")]
    one, copy = (reported._cells("tables/success.md", text) for text in texts)
    assert reported._difference(one, copy) == ""
    other = reported._cells("tables/success.md", texts[0].replace(b"tiny", b"paper"))
    assert reported._difference(one, other)
