"""Every key of the configuration: a sentence, a range or choices, and what is refused by name."""

import dataclasses
import functools
import importlib
import inspect
import math
import pathlib
from typing import Any, get_args

import pytest
import tiny

from harness import export, run, zoo
from harness.bench import __main__ as bench
from harness.bench import settings
from harness.contracts import setting
from harness.contracts.method import MethodConfig
from harness.experiment import config, dotted_keys, identity, manual
from harness.sweep import space
from harness.verify import __main__ as verify
from lewm.model import LeWMConfig

DATACLASSES = {
    "": config.RunConfig,
    **{f"{name}.": cls for name, cls in config.sections().items()},
    **{f"bench {name} ": figure.Config for name, figure in bench.FIGURES.items()},
    "bench ": settings.Common,
    "export ": export.Options,
    "verify ": verify.Options,
    "weights.": identity.Weights,
}
ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("harness", "lewm", "baselines")
IN_CODE = {"config.TrialConfig", "space.Sweep"}  # made of what the command line says
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
    whole = "int" in str(leaf.kind)
    declared, step = setting.of(leaf.field), 1 if whole else EPS
    found = [bound - step for bound in (declared.ge,) if bound is not None]
    found += [bound for bound in (declared.gt, declared.lt) if bound is not None]
    found += [bound + step for bound in (declared.le,) if bound is not None]
    found += [setting.MOST_WHOLE + 1] if whole and declared.le is None else []
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


def dataclasses_of_the_project():
    """Every dataclass that a module of the project defines, by "module.Name"."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            module = importlib.import_module(name)
            for _, cls in inspect.getmembers(module, inspect.isclass):
                if cls.__module__ == name and dataclasses.is_dataclass(cls):
                    found[f"{parts[-1]}.{cls.__name__}"] = cls
    return found


def test_no_configuration_is_left_out():
    """Every dataclass that takes settings is one of DATACLASSES, inside one of them, or a base of
    one; and what is called a configuration takes settings.
    """
    every = dataclasses_of_the_project()
    walked = set()

    def walk(config):
        walked.update(type(config).__mro__)
        for field in dataclasses.fields(config):
            if dataclasses.is_dataclass(value := getattr(config, field.name)):
                walk(value)

    for cls in DATACLASSES.values():
        walk(cls())
    settings_of = {name for name, cls in every.items() if issubclass(cls, setting.Settings)}
    missed = {name for name in settings_of if every[name] not in walked}
    assert missed == IN_CODE
    named = {name for name in every if name.endswith(("Config", "Options", "Settings"))}
    assert named <= settings_of and len(settings_of) > 40


@pytest.mark.parametrize("name", sorted(IN_CODE))
def test_what_is_made_in_code_declares_its_numbers_and_texts(name):
    cls = dataclasses_of_the_project()[name]
    given = {"run", "words", "task", "method", "seeds", "space"}  # read before, each by its rule
    for field in dataclasses.fields(cls):
        kind = setting.kinds(cls)[field.name]
        if field.name not in given and (kind in (int, float, bool, str) or get_args(kind)):
            declared = setting.of(field)
            if declared is None:
                assert str(kind).startswith("dict[str, harness."), field.name  # of dataclasses
                continue
            assert declared.about.endswith(".")
            assert declared.range or declared.text or kind is bool or "Literal" in str(kind)


@pytest.mark.parametrize("word", ["points=1", "resolution=1", "trials=0", "trials=9999999999"])
def test_a_sweep_refuses_what_is_outside(word, tmp_path):
    of = {"points": "grid", "resolution": "bisection"}.get(word.partition("=")[0], "tpe")
    own = ["task=toy", "method=lewm", "scale=tiny", f"results={tmp_path}", f"sampler={of}", word]
    with pytest.raises(config.ConfigError, match=rf"^{word}: give a "):
        space.parse([*own, "space.train.lr=log:0.001:0.1"])


REFUSED = {  # words -> what is said
    "method.lewm.sigreg_weight=-1": "method.lewm.sigreg_weight=-1.0 must be at least 0",
    "method.ema_jepa.momentum_end=1.01": "momentum_end=1.01 must be at least 0 and at most 1",
    "method.gciql.expectile=0": "method.gciql.expectile=0.0 must be above 0 and below 1",
    "method.lewm.encoder.heads=0": "method.lewm.encoder.heads=0 must be at least 1",
    "method.lewm.encoder.patch=7": "method.lewm.encoder.patch=7 must divide the picture's side",
    "method.dino_wm.encoder_heads=5": "encoder_heads=5 must divide encoder_width=",
    "mpc.horizon_blocks=0": "mpc.horizon_blocks=0 must be at least 1",
    "data.episodes=99999999999999999999": "must be at most 4294967295",
    "data.test=0": "data.test=0 leaves no episode for pairs",
    "protocol.strata=[swamp]": 'unknown stratum of toy "swamp"',
    "protocol.strata_min={swamp: 0.5}": 'unknown stratum of toy "swamp"',
    "train.lr=1e400": "train.lr=inf must be a finite number, above 0; see --help train.lr",
}


@pytest.mark.parametrize(("word", "said"), REFUSED.items())
def test_the_command_refuses_it_before_anything_starts(word, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    methods = f"methods={word.split('.')[1]}" if word.startswith("method.") else "methods=lewm"
    assert run.main(["suite=smoke", "scale=tiny", "tasks=toy", methods, word]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


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
        assert "see --help" in said
        *inside, _ = leaf.key.split(".")
        owner = functools.reduce(getattr, inside, cls())
        with pytest.raises(ValueError, match=rf"^{leaf.field.name}"):  # without a command line
            dataclasses.replace(
                owner, **{leaf.field.name: tuple(value) if isinstance(value, list) else value}
            )


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
