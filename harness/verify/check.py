"""The outcome of one kind of check."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import NamedTuple


class Note(NamedTuple):
    """A fault, or the reason why something could not be checked."""

    place: str  # a trial's folder below trials/, a table, a dataset
    text: str


class Check(NamedTuple):
    """How much was checked, what is wrong with it, and what could not be checked."""

    name: str
    checked: int
    noun: str  # what was counted, in the plural: "trials"
    faults: Sequence[Note] = ()
    skipped: Sequence[Note] = ()

    @property
    def counted(self) -> str:
        """The noun as it stands behind the number: "trial" of 1."""
        return self.noun.removesuffix("s") if self.checked == 1 else self.noun

    def summary(self) -> str:
        """ "hashes of 27 trials"."""
        return f"{self.name} of {self.checked:,} {self.counted}"


def grouped(notes: Sequence[Note], named: int) -> list[str]:
    """The notes as lines, the places with the same text together, of which so many are named."""
    places: dict[str, list[str]] = collections.defaultdict(list)
    for note in notes:
        places[note.text].append(note.place)
    return [f"{_listed(names, named)}: {text}" for text, names in places.items()]


def _listed(names: Sequence[str], named: int) -> str:
    more = f" and {len(names) - named} more" if len(names) > named else ""
    return ", ".join(names[:named]) + more
