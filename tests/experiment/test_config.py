"""The words of the command line: layers, hashes, and what is said about words that mean nothing."""

import dataclasses
import json
import pwd

import pytest
import tiny
import yaml

from harness import run, trial, zoo
from harness.experiment import config, identity, suites
from harness.experiment.protocols import PROTOCOLS
from harness.experiment.scales import SCALES
from harness.nn import jepa


def specs(*words):
    return suites.expand(
        config.parse(["suite=smoke", "scale=tiny", "device=cpu", *words]), trial.STAGES
    )


# -- layers


def test_later_layers_win():
    """Defaults, then protocol, scale, suite and command line."""
    spec = tiny.spec("lewm")
    assert spec.config.train.weight_decay == 1e-3  # a default
    assert spec.config.planner.candidates == PROTOCOLS["smoke"]["planner"]["cem"]["candidates"]
    assert spec.config.train.steps == SCALES["tiny"]["train"]["steps"]
    assert spec.config.method.encoder.kind == "conv" and spec.config.method.history == 3
    run_config = config.parse(["scale=tiny", "train.steps=7", "protocol=lewm-v1"])
    overlay = {"train": {"steps": 5, "batch_size": 4}, "protocol": {"pairs": 3}}
    spec = config.trial_spec(run_config, "two_room", "lewm", 0, ("train",), overlay)
    assert (spec.config.train.steps, spec.config.train.batch_size) == (7, 4)
    assert spec.config.protocol.pairs == 3
    assert spec.config.protocol.offset_steps == 100  # the protocol's part for the task


def test_for_narrows_a_layer_to_a_task_and_then_to_a_method():
    words = ["train.lr=1", "for.toy.train.lr=2", "for.lewm.train.lr=3", "tasks=[toy,two_room]"]
    found = {(s.task, s.method): s.config.train.lr for s in specs(*words, "methods=[lewm,pldm]")}
    assert found == {
        ("toy", "lewm"): 3,
        ("toy", "pldm"): 2,
        ("two_room", "lewm"): 3,
        ("two_room", "pldm"): 1,
    }


def test_a_method_has_a_branch_of_its_own():
    lewm, pldm = specs("methods=[lewm,pldm]", "method.pldm.var=3", "method.lewm.latent_dim=24")
    assert pldm.config.method.var == 3 and pldm.config.method.latent_dim == 16
    assert lewm.config.method.latent_dim == 24


def test_words_of_the_run():
    found = config.parse(
        ["suite=quick", "scale=tiny", "seeds=3", "methods=lewm", "ray.address=x:1"]
    )
    assert (found.seeds, found.methods, found.ray.address) == ((0, 1, 2), ("lewm",), "x:1")
    assert found.protocol == "smoke" and found.folder == "results/quick-tiny-smoke"
    assert config.parse(["scale=laptop"]).protocol == "lewm-v3"
    assert config.parse(["seeds=[4,9]", "run=mine"]).folder == "results/mine"


def test_names_need_no_brackets():
    assert config.parse(["methods=lewm, noop", "tasks=toy"]).methods == ("lewm", "noop")


def test_a_frozen_encoder_reads_tasks_that_the_run_has_not():
    """Their frames are in its pool: keys for them reach a trial."""
    words = ("methods=[dino_wm]", "tasks=[two_room]", "method.dino_wm.weights=mae")
    (spec,) = specs(*words, "scale=laptop", "for.cube.data.episodes=50")
    assert spec.config.pool["cube"].episodes == 50


def test_controls_have_one_seed_and_no_trial_comes_twice():
    found = specs("methods=[lewm,noop,lewm]", "tasks=[toy,toy]", "seeds=[3,5,3]")
    assert [s.key for s in found] == ["toy.lewm.s3", "toy.lewm.s5", "toy.noop.s3"]


def test_controls_take_one_core_and_no_gpu():
    lewm, noop = specs("methods=[lewm,noop]", "device=cuda", "resources.cpu=4", "resources.gpu=1")
    assert (lewm.config.resources.cpu, lewm.config.resources.gpu) == (4, 1)
    assert (noop.config.resources.cpu, noop.config.resources.gpu) == (1, 0)
    (lewm,) = specs("methods=[lewm]", "resources.gpu=1")
    assert lewm.config.resources.gpu == 0 and lewm.config.device == "cpu"


def test_pairs_in_one_call_of_the_model_follow_the_device_unless_said():
    for words, together in (
        (["device=cpu"], 1),
        (["device=cuda"], 16),
        (["device=cuda", "resources.pairs_per_rollout=4"], 4),
        (["device=cpu", "resources.pairs_per_rollout=4"], 4),
    ):
        (lewm,) = specs("methods=[lewm]", "scale=paper", *words)
        assert lewm.config.resources.pairs_per_rollout == together


# -- what is not understood

BAD = [  # words, what is said
    (["lr"], '"lr" is not of the form key=value, e.g. scale=laptop'),
    (["=3"], '"=3" is not of the form key=value'),
    (["suit=all"], 'unknown key "suit". Did you mean "suite"?'),
    (["lr=3"], 'unknown key "lr". Did you mean "train.lr"?'),
    (["train=3"], 'unknown key "train"'),
    (["train.lrr=3"], 'unknown key "train.lrr". Did you mean "train.lr"?'),
    (["method.lewm.latent_dimm=3"], 'Did you mean "method.lewm.latent_dim"?'),
    (["method.lewm.encoder.widht=3"], 'Did you mean "method.lewm.encoder.width"?'),
    (["ray.adress=a"], 'unknown key "ray.adress". Did you mean "ray.address"?'),
    (["for.toy.trian.lr=1"], 'unknown key "trian". Did you mean "train"?'),
    (["for.toy.train.lrr=1"], 'Did you mean "train.lr"?'),
    (
        ["for.toy.protocol=5"],
        "for.toy.protocol takes no value (5) but keys: for.toy.protocol.name,",
    ),
    (["for.toy.planner=3"], "for.toy.planner takes no value (3) but keys: for.toy.planner.cem.can"),
    (["results=foo://x"], "results=foo://x cannot be used: "),
    (["suite=smok"], 'unknown suite "smok". Did you mean "smoke"?'),
    (["scale=tine"], 'unknown scale "tine". Did you mean "tiny"?'),
    (["protocol=lewm-v2"], 'unknown protocol "lewm-v2". Did you mean "lewm-v'),
    (["planner=cme"], 'unknown planner "cme". Did you mean "cem"?'),
    (["planner.cme.elites=3"], 'unknown planner "cme". Did you mean "cem"?'),
    (["tasks=[toi]"], 'unknown task "toi". Did you mean "toy"?'),
    (["methods=[lewn]"], 'unknown method "lewn". Did you mean "lewm"?'),
    (["method.lewn.latent_dim=3"], 'unknown method "lewn". Did you mean "lewm"?'),
    (["for.toi.train.lr=1"], 'unknown task or method in for.* "toi". Did you mean "toy"?'),
    (["for.reacher.train.lr=1"], '"for.reacher." reaches no trial of this run, which has toy, '),
    (["train.lr=fast"], "train.lr=fast must be a number; see --help"),
    (["train.lr="], "train.lr= has no value"),
    (["methods="], "methods= has no value"),
    (["train.lr=a: b"], "train.lr=a: b must be a number"),
    (["train.precision=fp8"], "train.precision=fp8 must be one of fp32, bf16"),
    (["data.episodes=2.5"], "data.episodes=2.5 must be a whole number"),
    (
        ["method.lewm.encoder.kind=vgg"],
        "method.lewm.encoder.kind=vgg must be one of vit, resnet18, conv",
    ),
    (["device=gpu"], "device=gpu must be one of auto, cpu, cuda"),
    (["seeds=0"], "seeds=0: seeds must be whole numbers, a count from 1 to"),
    *(
        ([f"seeds={text}"], f"seeds={text}: seeds must be whole numbers")
        for text in ("[a]", "[1.5]", "1e9999", "-1", "[-1]", "[]", "0.5", "99999999999", "1,,2")
    ),
    (["train.steps=1e9999"], "train.steps=1e9999 must be a whole number"),
    (["train.epochs=1e9999"], "train.epochs=inf must be a finite number, at least 0"),
    (["dry=perhaps"], "dry=perhaps must be true or false"),
    (["method.lewm.encoder.channels=8,,16"], "must be a list without an empty element, e.g. a,b"),
    (["method.lewm.encoder.channels=[8,x]"], "encoder.channels=x must be a whole number"),
    (["protocol.strata_min={a: much}"], "protocol.strata_min.a=much must be a number"),
    (["protocol.strata_min=0.5"], "protocol.strata_min=0.5 must be of the form {name: value,"),
    (["method.lewm.sigreg_weight=-1"], "method.lewm.sigreg_weight=-1.0 must be at least 0"),
    (["for.toy.method.lewm.dropout=1"], "method.lewm.dropout=1.0 must be at least 0 and below 1"),
    (
        ["method.gcbc.policy_goals.random=0.5"],
        "method.gcbc.policy_goals.current, future and random must add up to 1, not (0.0, 1.0, 0.5)",
    ),
    (["method.lewm=3"], "method.lewm takes no value (3) but keys: method.lewm.encoder.kind, "),
    (["for.lewm=3"], "for.lewm takes no value (3) but keys: for.lewm.data, for.lewm.train, "),
    (["for.toy.train=3"], "train takes no value (3) but keys: train.steps, "),
    (["for.toy.method=3"], "method takes no value (3) but keys: method.lewm, "),
    (["train.lr=1", "train.lr.x=2"], "train.lr.x: train.lr is given a value already"),
    (["protocol.pairs=0"], "protocol.pairs=0 must be at least 1"),
    (["protocol.strata_min={a: 0.7, b: 0.7}"], "protocol.strata_min adds up to more than 1"),
    (
        ["protocol=strict", "tasks=[two_room]", "protocol.pairs=1"],
        "protocol.pairs=1 is fewer than the least shares take, {'detour': 1, 'through door': 1}",
    ),
    (["protocol.strata_min={a: 0.5, b: 0.5}", "protocol.pairs=25"], "protocol.pairs=25 is fewer"),
    (["protocol.eval_seeds=[]"], "protocol.eval_seeds must have at least 1 element(s)"),
    (["mpc.execute_blocks=6"], "mpc.execute_blocks=6 must lie in 1..horizon_blocks=5"),
    (["planner.cem.elites=33"], "planner.cem.elites=33 must lie in 2..candidates=32"),
    (["resources.cpu=0"], "resources.cpu=0.0 must be above 0"),
    (["resources.pairs_per_rollout=-1"], "resources.pairs_per_rollout=-1 must be at least 0"),
    (["train.lr=-1"], "train.lr=-1.0 must be above 0"),
    (["train.lr=nan"], "train.lr=nan must be a finite number, above 0"),
    (["train.clip_norm=0"], "train.clip_norm=0.0 must be above 0"),
    (["train.log_every=0"], "train.log_every=0 must be at least 1"),
    (["train.threads=2"], "train.threads=2 and resources.cpu=1: a trial needs a core for each"),
    (["datasets=~no-such-user/d"], "~no-such-user has no home folder here: give the path from /"),
    (["data.episodes=0"], "data.episodes=0 must be at least 1"),
    (["data.test=0.9"], "data.validation=0.1 and test=0.9 must add up to less than 1"),
]


def test_a_home_folder_that_the_shell_did_not_put_in_is_put_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    weights = "method.dino_wm.weights"
    words = [
        "results=~/r",
        "datasets=~root/d",
        "run=~x",
        f"{weights}=~/w",
        f"for.toy.{weights}=~root/w",
    ]
    run = config.parse([*words, "suite=smoke"])
    root = pwd.getpwnam("root").pw_dir
    assert (run.results, run.datasets, run.run) == ("/home/me/r", f"{root}/d", "~x")
    assert run.overrides["method"]["dino_wm"]["weights"] == "/home/me/w"
    of_toy = run.overrides["for"]["toy"]["method"]["dino_wm"]["weights"]
    assert of_toy == f"{root}/w"


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_one_line_says_what_is_not_understood(words, said, capsys, tmp_path):
    base = ["suite=smoke", "scale=tiny", "dry=true", f"results={tmp_path}"]
    assert run.main(tiny.together(base, words)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert said in err
    assert not list(tmp_path.iterdir())


def test_every_key_that_is_listed_is_taken():
    """All at once, each with the value that it has anyway: nothing changes but the name."""
    spec = tiny.spec("lewm")
    values, keys = dataclasses.asdict(spec.config), config.trial_keys()
    words = []
    for key in keys:
        branch, *path = key.split(".")
        if branch in ("planner", "method") and path.pop(0) not in ("cem", "lewm"):
            continue
        value = values[branch]
        for part in path:
            value = value[part]
        if value == "":  # such a key is left out instead
            continue
        words.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    assert len(words) > 50 and len(set(keys)) == len(keys)
    found = tiny.spec("lewm", *words).config
    named = dataclasses.replace(found.protocol, name="smoke")
    assert found.protocol.name == "smoke modified"
    assert dataclasses.replace(found, protocol=named) == spec.config


def test_the_papers_scale_has_the_published_data_and_goals():
    """Rows of an episode in the released files, episodes, and the share that is trained on."""
    for task, episodes, rows in (
        ("two_room", 10_000, 101),
        ("push_t", 18_685, 125),  # 2,336,736 rows in all
        ("reacher", 10_000, 201),
        ("cube", 10_000, 201),
    ):
        data = tiny.spec("lewm", "scale=paper", task=task).config.data
        assert (data.episodes, data.max_steps, data.image_size) == (episodes, rows, 224)
        assert data.validation + data.test == pytest.approx(0.1)
        for method, random in (("gcbc", 0.0), ("gcivl", 0.5), ("gciql", 0.5)):
            goals = tiny.spec(method, "scale=paper", task=task).config.method.policy_goals
            assert (goals.current, goals.future, goals.random) == (0.0, 1 - random, random)


def test_the_policys_goals_are_hashed():
    later = tiny.spec("gcivl")
    half = ("policy_goals.future=0.5", "policy_goals.random=0.5")
    mixed = tiny.spec("gcivl", *(f"method.gcivl.{word}" for word in half))
    assert identity.config_hash(mixed) != identity.config_hash(later)


# -- YAML and hashes


@pytest.mark.parametrize("method", ["lewm", "pldm", "noop"])
def test_yaml_round_trip(method):
    spec = dataclasses.replace(tiny.spec(method, "protocol=strict", task="two_room"), variant="v")
    text = config.to_yaml(spec)
    again = config.from_yaml(text)
    assert again == spec and config.to_yaml(again) == text
    assert identity.config_hash(again) == identity.config_hash(spec)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("method: lewm", "method: lewn"),
        lambda text: text.replace("task: toy", "task: toi"),
        lambda text: text.replace("  planner_name: cem\n", ""),
        lambda text: text.replace("lr:", "lrr:"),
        lambda text: text + "more: 3\n",
        lambda text: "a: [",
        lambda text: "just text",
        lambda text: "",
    ],
)
def test_a_text_that_is_no_trial(change):
    text = config.to_yaml(tiny.spec("lewm"))
    assert change(text) != text
    with pytest.raises(config.ConfigError) as caught:
        config.from_yaml(change(text))
    assert "\n" not in str(caught.value)


def changed(words, hash_of, method="lewm"):
    return hash_of(tiny.spec(method, *words)) != hash_of(tiny.spec(method))


def test_resources_decide_nothing():
    words = ["resources.cpu=2", "resources.pairs_per_solve=7", "resources.pairs_per_rollout=4"]
    for hash_of in (identity.config_hash, identity.setting_hash, identity.protocol_hash):
        assert not changed(words, hash_of)


def test_the_seed_decides_a_trial_but_not_its_setting():
    assert changed(["seeds=[1]"], identity.config_hash)
    assert not changed(["seeds=[1]"], identity.setting_hash)


@pytest.mark.parametrize(
    "word",
    [
        "train.lr=1e-4",
        "data.episodes=41",
        "method.lewm.sigreg_weight=0.2",
        "planner.cem.iterations=3",
        "protocol.pairs=9",
        "mpc.execute_blocks=4",
        "plan_time.singles=3",
    ],
)
def test_what_decides_the_outcome_changes_the_hashes(word):
    assert changed([word], identity.config_hash) and changed([word], identity.setting_hash)
    of_protocol = word.split(".")[0] in ("protocol", "planner", "mpc")
    assert changed([word], identity.protocol_hash) == of_protocol


def test_the_start_of_a_plan_is_hashed_where_plans_are_not_executed_whole():
    """Rows from before there was a warm start do not count as done where it would have mattered."""
    whole = tiny.spec("lewm")
    mpc = dataclasses.replace(whole.config.mpc, warm_start=False)
    other = dataclasses.replace(whole, config=dataclasses.replace(whole.config, mpc=mpc))
    for hash_of in (identity.config_hash, identity.protocol_hash):
        assert hash_of(other) == hash_of(whole)
    shorter = "mpc.execute_blocks=4"
    cold = tiny.spec("lewm", shorter, "mpc.warm_start=false")
    assert identity.config_hash(cold) != identity.config_hash(tiny.spec("lewm", shorter))
    text = config.to_yaml(cold)
    before = config.from_yaml(text.replace("    warm_start: false\n", ""))
    assert "warm_start" in text and identity.config_hash(before) != identity.config_hash(cold)


@pytest.mark.parametrize("word", ["plans.pairs=3", "decoder.steps=3"])
def test_the_section_of_a_stage_decides_that_stage_alone(word):
    """And the YAML of a trial from before there was the section can still be read."""
    stage = word.split(".")[0]
    short = [tiny.spec("lewm", f"stages=train,{stage}", *words) for words in ((), (word,))]
    assert identity.config_hash(short[0]) == identity.config_hash(short[1])
    names = [identity.stage_names(spec) for spec in short]
    assert names[0] != names[1] and names[0][0] == names[1][0] == "train"
    tree = yaml.safe_load(config.to_yaml(short[0]))
    del tree["config"][word.split(".")[0]]
    before = config.from_yaml(yaml.safe_dump(tree))
    assert identity.config_hash(before) == identity.config_hash(short[0])


def test_another_version_of_the_task_changes_the_hash(monkeypatch):
    spec, task = tiny.spec("lewm"), zoo.TASKS["toy"]
    before = identity.config_hash(spec)
    later = dataclasses.replace(task.spec, version=task.spec.version + 1)
    monkeypatch.setattr(type(task), "spec", later)
    assert identity.config_hash(spec) != before


def test_what_a_control_does_not_read_does_not_change_its_hash():
    unread = ("train.lr=1", "plan_time.singles=3", "plans.pairs=3", "decoder.steps=3")
    for word in (*unread, "device=cuda", "method.lewm.latent_dim=8"):
        assert not changed([word], identity.config_hash, method="noop")
    for word in ("data.episodes=41", "protocol.pairs=9"):
        assert changed([word], identity.config_hash, method="noop")


def test_a_changed_protocol_has_another_name():
    assert tiny.spec("lewm", "train.lr=1").config.protocol.name == "smoke"
    for word in ("protocol.pairs=9", "planner.cem.iterations=3", "mpc.execute_blocks=4"):
        assert tiny.spec("lewm", word).config.protocol.name == "smoke modified"
        assert tiny.spec("lewm", f"for.toy.{word}").config.protocol.name == "smoke modified"


def test_a_name_that_is_a_number():
    assert tiny.spec("lewm", "protocol.name=5").config.protocol.name == "5 modified"


def test_a_success_rule_is_one_of_the_tasks():
    with pytest.raises(config.ConfigError, match=r"toy \"wrapped\".*default"):
        tiny.spec("lewm", "protocol.success_rule=wrapped")


def test_precision_is_no_part_of_the_protocol():
    plain, faster, other = (
        suites.expand(config.parse(["suite=smoke", "methods=[lewm]", *words]), trial.STAGES)[0]
        for words in ([], ["mpc.precision=bf16"], ["mpc.horizon_blocks=6"])
    )
    assert faster.config.protocol.name == plain.config.protocol.name
    assert identity.protocol_hash(faster) == identity.protocol_hash(plain)
    assert identity.setting_hash(faster) != identity.setting_hash(plain)
    assert other.config.protocol.name.endswith("modified")
    assert identity.protocol_hash(other) != identity.protocol_hash(plain)


@pytest.mark.parametrize("scale", SCALES)
def test_a_new_method_has_the_sizes_of_every_scale(scale, monkeypatch):
    """One file and one line in zoo.py: nothing of it is in scales.py."""

    @dataclasses.dataclass(frozen=True)
    class MineConfig(jepa.JEPAConfig):
        weight: float = 1.0

    mine = dataclasses.replace(zoo.METHODS["pldm"], label="Mine", config=MineConfig)
    monkeypatch.setitem(zoo.METHODS, "mine", mine)
    words = ["suite=all", f"scale={scale}", "tasks=[two_room]"]
    found = {
        name: suites.expand(config.parse([*words, f"methods=[{name}]"]), trial.STAGES)[0].config
        for name in ("mine", "pldm")
    }
    assert found["mine"].method.encoder == found["pldm"].method.encoder
    assert found["mine"].method.predictor_width == found["pldm"].method.predictor_width
    assert found["mine"].method.weight == 1.0
    assert found["mine"].data.image_size % found["mine"].method.encoder.patch == 0


def test_released_data_are_the_tasks_place_on_the_hub_whole_episodes():
    spec = tiny.spec("random", "data.source=released", task="push_t")
    assert spec.config.data.source == "hf:quentinll/lewm-pusht"
    assert spec.config.data.max_steps == 246
    with pytest.raises(config.ConfigError, match="toy has no released data; these have: push_t"):
        tiny.spec("random", "data.source=released")
