"""The job files of ``configs/clusters``: they are what they should be, and their command lines compose."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from asr.config import TrainConfig, to_options

CONFIGS = Path(__file__).parents[1] / "configs"
CLUSTERS = CONFIGS / "clusters"
# Both branches of a job: the state is there, or not.
BEGUN = [False, True]


def run(script: str, folder: Path, resumed: bool, name: str) -> list[str]:
    """Run a job's script with a python that only writes down what it is given, and ends as a stopped training does."""
    (folder / "bin").mkdir()
    for program, body in {
        "python": f'printf "%s\\n" "$@" > {folder}/given; exit 75',
        "srun": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": f'echo "$@" > {folder}/scontrol',
    }.items():
        (folder / "bin" / program).write_text(f"#!/bin/bash\n{body}\n")
        (folder / "bin" / program).chmod(0o755)
    if resumed:
        (folder / name / "checkpoints").mkdir(parents=True)
        (folder / name / "checkpoints/last.state").touch()
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, check=False)
    assert done.returncode == 75
    words = (folder / "given").read_text().splitlines()
    assert words[0] == "scripts/train.py" and (CONFIGS.parent / words[0]).is_file()
    return words[1:]


def composed(overrides: list[str]) -> TrainConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return to_options(compose("train", overrides=overrides), TrainConfig)


@pytest.mark.parametrize("resumed", BEGUN)
def test_slurm(tmp_path: Path, resumed: bool) -> None:
    script = (CLUSTERS / "slurm.sh").read_text("utf-8")
    asked = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in script.splitlines()
        if line.startswith("#SBATCH")
    )
    overrides = run(script, tmp_path, resumed, "runs/dialect-7")
    assert (tmp_path / "scontrol").read_text() == "requeue 7\n"
    if resumed:
        assert overrides == ["resume=runs/dialect-7"]
        return
    config = composed(overrides)
    # Lightning wants as many tasks as devices.
    assert (config.trainer.nodes, config.trainer.devices) == (int(asked["nodes"]), int(asked["ntasks-per-node"]))
    assert config.trainer.devices == int(asked["gpus-per-node"])
    assert (config.run, config.trainer.strategy) == ("runs/dialect-7", "ddp")


@pytest.mark.parametrize("resumed", BEGUN)
def test_kubernetes(tmp_path: Path, resumed: bool) -> None:
    job = yaml.safe_load((CLUSTERS / "kubernetes.yaml").read_text("utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["command"], pod["restartPolicy"]) == (["bash", "-c"], "Never")
    rules = {
        tuple(rule["onExitCodes"]["values"]): rule
        for rule in job["spec"]["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert rules[75,]["action"] == "Ignore" and rules[75,]["onExitCodes"]["containerName"] == container["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (script,) = container["args"]
    overrides = run(script, tmp_path, resumed, "runs/dialect")
    if resumed:
        assert overrides == ["resume=runs/dialect"]
        return
    config = composed(overrides)
    assert config.trainer.devices == container["resources"]["limits"]["nvidia.com/gpu"]
    assert config.data.weights == (4.0, 1.0)


def test_the_page_speaks_of_what_there_is() -> None:
    page = (CLUSTERS / "README.md").read_text("utf-8")
    for line in (line for line in page.splitlines() if "scripts/train.py" in line):
        words = shlex.split(line.split("`")[1].partition("scripts/train.py")[2].replace("…", ""))
        assert composed(["data.train=train.jsonl", *words]).trainer.strategy == "ddp"
