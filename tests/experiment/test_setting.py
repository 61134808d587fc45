"""Every key of the configuration: a sentence, a range or choices, and what is refused by name."""

import dataclasses
import math
from typing import Any

import pytest
import tiny

from harness import zoo
from harness.bench import __main__ as bench
from harness.bench import settings
from harness.contracts import setting
from harness.contracts.method import MethodConfig
from harness.experiment import config, dotted_keys, identity, manual
from lewm.model import LeWMConfig

DATACLASSES = {
    "": config.RunConfig,
    **{f"{name}.": cls for name, cls in config.sections().items()},
    **{f"bench {name} ": figure.Config for name, figure in bench.FIGURES.items()},
    "bench ": settings.Common,
}
LEAVES = [
    pytest.param(prefix, cls, leaf, id=f"{prefix}{leaf.key}")
    for prefix, cls in DATACLASSES.items()
    for leaf in dotted_keys.leaves(cls())
    if leaf.key != "overrides"
]
EPS = 1e-9


def is_number(leaf):
    return leaf.kind in (int, float)


def outside(leaf):
    """Values just beyond the bounds of a number, a list of numbers or a dictionary of them."""
    declared, step = setting.of(leaf.field), 1 if "int" in str(leaf.kind) else EPS
    found = [bound - step for bound in (declared.ge,) if bound is not None]
    found += [bound for bound in (declared.gt, declared.lt) if bound is not None]
    found += [bound + step for bound in (declared.le,) if bound is not None]
    if leaf.kind in (int, float):
        return found
    return [{"a": v} if "dict" in str(leaf.kind) else [v] for v in found]


def given(key, value):
    tree = {}
    dotted_keys.put(tree, key, value)
    return tree


@pytest.mark.parametrize(("prefix", "cls", "leaf"), LEAVES)
def test_a_key_has_one_sentence_and_says_what_is_allowed(prefix, cls, leaf):
    declared = setting.of(leaf.field)
    assert declared.about.endswith(".") and ". " not in declared.about, declared.about
    assert declared.about[0].isupper() or declared.about.startswith("HOST")
    if "int" in str(leaf.kind) or "float" in str(leaf.kind):
        assert declared.range
    elif leaf.kind is str or leaf.kind == tuple[str, ...]:
        assert declared.text
    else:
        assert leaf.kind is bool or "Literal" in str(leaf.kind)


@pytest.mark.parametrize(("prefix", "cls", "leaf"), LEAVES)
def test_a_value_outside_is_refused_by_name(prefix, cls, leaf):
    wrong = outside(leaf)
    wrong += [math.nan, math.inf, -math.inf] if leaf.kind is float else []
    if "Literal" in str(leaf.kind) or leaf.kind is bool:
        wrong = ["neither"]
    assert wrong or leaf.kind in (str, tuple[str, ...])
    for value in wrong:
        with pytest.raises(config.ConfigError) as caught:
            dotted_keys.fill(cls(), given(leaf.key, value), prefix)
        said = str(caught.value)
        assert said.startswith(f"{prefix}{leaf.key}") and "must be" in said and "\n" not in said


@pytest.mark.parametrize(("prefix", "cls"), DATACLASSES.items())
def test_the_defaults_are_allowed(prefix, cls):
    for leaf in dotted_keys.leaves(cls()):
        if declared := setting.of(leaf.field):
            declared.check(leaf.key, leaf.default)


def test_the_values_of_the_paper_are_allowed():
    for prefix, cls in DATACLASSES.items():
        for leaf in dotted_keys.leaves(cls()):
            declared = setting.of(leaf.field)
            if declared and isinstance(declared.paper, int | float):
                declared.check(f"{prefix}{leaf.key}", declared.paper)


def test_a_dataclass_refuses_values_without_a_command_line():
    with pytest.raises(ValueError, match=r"^sigreg_weight=-1 must be at least 0$"):
        LeWMConfig(sigreg_weight=-1)
    with pytest.raises(ValueError, match=r"^dropout=nan must be a finite number, at least 0 and"):
        dataclasses.replace(LeWMConfig(), dropout=math.nan)


@dataclasses.dataclass(frozen=True)
class Inner:
    """Nothing is declared."""

    depth: int = 2


@dataclasses.dataclass(frozen=True)
class Foreign(MethodConfig):
    """The configuration of a method from outside."""

    rate: float = 0.5
    name: str = "a"
    shares: tuple[float, ...] = (0.5, 0.5)
    limit: float | None = None
    extra: Any = None
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_a_dataclass_without_declarations_works(monkeypatch):
    """A method from outside is taken, read, written, hashed and explained."""
    foreign = dataclasses.replace(zoo.METHODS["noop"], label="Foreign", config=Foreign)
    monkeypatch.setitem(zoo.METHODS, "foreign", foreign)
    own = ["rate=inf", "name=007", "shares=1,2", "limit=3", "extra=[1, {a: b}]", "inner.depth=-4"]
    spec = tiny.spec("foreign", *(f"method.foreign.{word}" for word in own))
    wanted = Foreign(math.inf, "007", (1.0, 2.0), 3.0, [1, {"a": "b"}], Inner(-4))
    assert spec.config.method == wanted
    assert config.from_yaml(config.to_yaml(spec)) == spec
    assert identity.config_hash(spec) != identity.config_hash(tiny.spec("foreign"))
    with pytest.raises(config.ConfigError, match=r"method.foreign.inner.depth=x must be a whole"):
        tiny.spec("foreign", "method.foreign.inner.depth=x")
    text = manual.answer(["method.foreign"], "")
    assert "method.foreign: Foreign." in text and "method.foreign.inner.depth=2" in text
    assert "Allowed: a number or null." in manual.answer(["method.foreign.limit"], "")
