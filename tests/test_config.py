"""Every file of ``configs/`` composed as the scripts do, and what is refused with a sentence."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig

from asr.config import (
    SAVED,
    AdapterConfig,
    AugmentConfig,
    DecodeConfig,
    EvaluateConfig,
    ModelConfig,
    TrainConfig,
    TranscribeConfig,
    of_multirun,
    plain,
    saved_config,
    to_options,
    write_config,
)
from asr.errors import ConfigError
from asr.model.adapt import LoraOptions
from asr.training.optim import OptimOptions
from asr.training.run import TrainerOptions
from asr.training.tracking import LoggerOptions

CONFIGS = Path(__file__).parents[1] / "configs"
CHOICES = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "clusters")
OF_TRAINING = [choice for choice in CHOICES if choice[0] != "decode"]
OF_DECODING = [name for group, name in CHOICES if group == "decode"]
GIVEN = "data.train=train.jsonl"


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


def composed(*overrides: str, script: str = "train") -> DictConfig:
    return compose(script, overrides=list(overrides), return_hydra_config=False)


def train_config(*overrides: str) -> TrainConfig:
    return to_options(composed(GIVEN, *overrides), TrainConfig)


@pytest.mark.parametrize(("group", "name"), OF_TRAINING)
def test_every_choice_composes(group: str, name: str) -> None:
    config = train_config(f"{group}={name}")
    assert config.data.train == ("train.jsonl",)
    if group == "model":
        assert config.model.name == name


@pytest.mark.parametrize("experiment", [name for group, name in CHOICES if group == "experiment"])
def test_an_experiment_goes_with_every_other_choice(experiment: str) -> None:
    for group, name in OF_TRAINING:
        if group != "experiment":
            train_config(f"experiment={experiment}", f"{group}={name}")


def test_an_experiment_changes_what_it_says_and_nothing_else() -> None:
    default = dict(leaves(plain(train_config())))
    for path in (CONFIGS / "experiment").glob("*.yaml"):
        table = yaml.safe_load(path.read_text("utf-8"))
        # A choice of a group, such as {"override /augment": "none"}, says all that the group's file does.
        groups = {name.removeprefix("override /") for choice in table.pop("defaults", []) for name in choice}
        says = dict(leaves(table))
        now = dict(leaves(plain(train_config(f"experiment={path.stem}"))))
        # YAML 1.1 takes 1e-5 for text, OmegaConf does not.
        assert {key: now[key] for key in says} == {key: number(value) for key, value in says.items()}
        changed = {key for key in now if now[key] != default[key] and key != "run"}
        assert {key for key in changed if key.partition(".")[0] not in groups} <= says.keys()


def number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value) else value


def leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("decode", OF_DECODING)
def test_decoding_choices(decode: str) -> None:
    beam = {"greedy": None, "beam": 5}[decode]
    evaluate = to_options(
        composed(f"decode={decode}", "checkpoint=m.pt", "+test.a=a.jsonl", script="evaluate"), EvaluateConfig
    )
    transcribe = to_options(composed(f"decode={decode}", "inputs=a.wav", script="transcribe"), TranscribeConfig)
    assert evaluate.decode == transcribe.decode == DecodeConfig(beam)
    assert evaluate.test == {"a": "a.jsonl"}
    assert transcribe.inputs == ("a.wav",)


def test_the_files_say_what_the_classes_default_to() -> None:
    config = train_config()
    assert config.model == ModelConfig("base")
    assert config.adapter == AdapterConfig()
    assert config.augment == AugmentConfig()
    assert config.optim == OptimOptions()
    assert config.trainer == TrainerOptions()
    assert config.logger == LoggerOptions()
    assert dataclasses.replace(config.data, train=("x",)) == type(config.data)(("x",))
    assert (config.resume, config.seed) == (None, 0)
    assert train_config("adapter=lora").adapter.lora == LoraOptions()
    evaluate = to_options(composed("checkpoint=m.pt", script="evaluate"), EvaluateConfig)
    assert evaluate == EvaluateConfig("m.pt", {})
    assert to_options(composed("inputs=a.wav", script="transcribe"), TranscribeConfig) == TranscribeConfig(("a.wav",))


def test_a_run_is_named_by_when_it_began() -> None:
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d", train_config().run)


def test_each_of_several_runs_has_its_own_folder() -> None:
    config = train_config("run=runs/mine", "data.dev=dev.jsonl")
    runs = [of_multirun(config, number, search=True) for number in (0, 1)]
    assert [one.run for one in runs] == ["runs/mine/0", "runs/mine/1"]
    assert {dataclasses.replace(one, run="") for one in runs} == {dataclasses.replace(config, run="")}


@pytest.mark.parametrize(
    ("overrides", "search", "message"),
    [
        (["resume=runs/a"], False, "resume=runs/a goes on with one run; leave --multirun"),
        (["trainer=ddp"], False, "a multirun trains in one process, and trainer.devices times trainer.nodes is 2"),
        ([], True, "a search needs data.dev"),
    ],
)
def test_what_is_none_of_several_runs(overrides: list[str], search: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        of_multirun(train_config(*overrides), 0, search)


def test_a_search_changes_fields_that_there_are() -> None:
    for path in (CONFIGS / "hparams_search").glob("*.yaml"):
        choice = f"hparams_search={path.stem}"
        params = compose("train", [GIVEN, choice], return_hydra_config=True).hydra.sweeper.params
        now = dict(leaves(plain(train_config(choice))))
        assert params and set(params) <= set(now)


def test_several_manifests() -> None:
    config = train_config("data.train=[a.jsonl,b.jsonl]", "data.weights=[3,1]", "data.dev=d.jsonl")
    assert config.data.train == ("a.jsonl", "b.jsonl")
    assert config.data.weights == (3.0, 1.0)
    assert config.data.dev == ("d.jsonl",)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["+optim.lrr=1"],
            "unknown key 'optim.lrr' in the configuration; did you mean 'optim.lr'? accepted are optim.lr,",
        ),
        (["+adapter.lora.rnk=1"], "did you mean 'adapter.lora.rank'?"),
        (["+sed=1"], "unknown key 'sed' in the configuration; did you mean 'seed'?"),
        (
            ["optim.lr=fast"],
            "'optim.lr': input should be a valid number, unable to parse string as a number, found 'fast'",
        ),
        (["optim.lr=0"], "'optim.lr': input should be greater than 0, found 0"),
        (["optim.schedule=step"], "'optim.schedule': input should be 'linear', 'cosine' or 'constant', found 'step'"),
        (["trainer.save_every=0"], "'trainer.save_every': input should be greater than or equal to 1, found 0"),
        (["trainer.monitor=dev/wre"], "'trainer.monitor': string should match pattern"),
        (["trainer.max_steps=1.5"], "'trainer.max_steps': input should be a valid integer"),
        (["model.window=narrow"], "'model.window': input should be 'padded' or 'tight', found 'narrow'"),
        (["data.margin=[1]"], "'data.margin.1' is missing in the configuration"),
        (["data.batch_seconds=0"], "'data.batch_seconds': input should be greater than 0, found 0"),
        (["logger=mlflow", "logger.experiment=''"], "'logger.experiment': string should have at least 1 character"),
        (["augment.noise=2"], "'augment.noise': input should be less than or equal to 1, found 2"),
        (["seed=-1"], "'seed': input should be greater than or equal to 0, found -1"),
        (["model.name=${nowhere}"], "'model.name': Interpolation key 'nowhere' not found"),
    ],
)
def test_what_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_config(*overrides)
    assert message in str(caught.value)
    assert "the configuration" in str(caught.value)


def test_a_misspelt_key_does_not_even_compose() -> None:
    with pytest.raises(HydraException, match=r"optim\.lrr"):
        composed(GIVEN, "optim.lrr=1")


def test_values_that_must_be_given() -> None:
    for script, kind, key in (
        ("train", TrainConfig, "data.train"),
        ("evaluate", EvaluateConfig, "checkpoint"),
        ("transcribe", TranscribeConfig, "inputs"),
    ):
        with pytest.raises(ConfigError) as caught:
            to_options(composed(script=script), kind)  # type: ignore[type-var]
        assert str(caught.value) == f"{key!r} needs a value; give it as {key}=…"


def test_a_transcription_as_a_command_line() -> None:
    config = to_options(
        composed(
            "inputs=[a.wav,-b.wav]",
            "checkpoint=m.pt",
            "decode=beam",
            "decode.lexicon=fr-CA.tsv",
            "decode.adapters=adapters",
            "decode.bias=0.5",
            "overwrite=true",
            "words=true",
            "language=fr",
            script="transcribe",
        ),
        TranscribeConfig,
    )
    words = config.arguments()
    assert words[0] == "transcribe"
    assert words[-3:] == ["--", "a.wav", "-b.wav"]
    flags = dict(zip(words[1:-5:2], words[2:-5:2], strict=True))
    assert flags == {
        "--model": "m.pt",
        "--format": "json",
        "--output-dir": "transcripts",
        "--language": "fr",
        "--device": "auto",
        "--batch-seconds": "240.0",
        "--workers": "4",
        "--beam-size": "5",
        "--n-best": "1",
        "--adapters": "adapters",
        "--routing": "hard",
        "--lexicon": "fr-CA.tsv",
        "--bias": "0.5",
        "--tag": "auto",
        "--engine": "auto",
        "--runner": "local",
    }
    assert words[-5:-3] == ["--words", "--overwrite"]


ORIGINAL = (
    "experiment=dialect",
    "data.train=['é.jsonl',b.jsonl]",
    "data.weights=[3,1]",
    "optim.lr=3e-5",
    "adapter=lora",
)


@pytest.fixture
def saved(tmp_path: Path) -> TrainConfig:
    """Of a run that began on another day, and wrote down which precision it computes in."""
    config = to_options(composed(*ORIGINAL, f"run={tmp_path}"), TrainConfig)
    config = dataclasses.replace(
        config, consent_day="2026-01-31", trainer=dataclasses.replace(config.trainer, precision="32-true")
    )
    write_config(config, tmp_path)
    return config


def resumed(folder: Path, *overrides: str) -> TrainConfig:
    said = [f"resume={folder}", *overrides]
    return saved_config(composed(*said), said)


def test_a_saved_configuration_comes_back(saved: TrainConfig, tmp_path: Path) -> None:
    expected = dataclasses.replace(saved, resume=str(tmp_path))
    assert resumed(tmp_path) == expected
    assert to_options(DictConfig(plain(saved)), TrainConfig) == saved
    assert "é.jsonl" in (tmp_path / SAVED).read_text("utf-8")


@pytest.mark.parametrize(
    "overrides",
    [
        ORIGINAL,  # the first command line again
        (*ORIGINAL, "trainer=auto", "trainer.precision=auto"),
        (*ORIGINAL, "consent_day=2026-01-31"),
        ("optim.lr=3e-5",),
        ("optim.lr=0.00003", "adapter=lora"),
        ("data.train=['é.jsonl',b.jsonl]",),
        ("run=elsewhere",),
        ("++adapter.mode=lora",),
    ],
)
def test_overrides_that_agree(saved: TrainConfig, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    assert resumed(tmp_path, *overrides) == dataclasses.replace(saved, resume=str(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "said", "key", "before", "now"),
    [
        (("optim.lr=1e-5",), "optim.lr=1e-5", "optim.lr", "3e-05", "1e-05"),  # also where it is the default
        (("seed=9",), "seed=9", "seed", "0", "9"),
        (("consent_day=2026-02-01",), "consent_day=2026-02-01", "consent_day", "'2026-01-31'", "'2026-02-01'"),
        (
            ("trainer.precision=bf16-mixed",),
            "trainer.precision=bf16-mixed",
            "trainer.precision",
            "'32-true'",
            "'bf16-mixed'",
        ),
        (("data.train=c.jsonl",), "data.train=c.jsonl", "data.train", "['é.jsonl', 'b.jsonl']", "['c.jsonl']"),
        (("adapter=full",), "adapter=full", "adapter.mode", "'lora'", "'full'"),
        (("experiment=window",), "experiment=window", "data.batch_seconds", "30.0", "60.0"),
        ((*ORIGINAL, "seed=4"), "seed=4", "seed", "0", "4"),
    ],
)
def test_an_override_that_contradicts(
    saved: TrainConfig, tmp_path: Path, overrides: tuple[str, ...], said: str, key: str, before: str, now: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resumed(tmp_path, *overrides)
    assert str(caught.value) == (
        f"resume={tmp_path} goes on with the run's own configuration, but {said!r} would change {key!r} from {before} "
        f"to {now}; leave it out, or start a new run"
    )


def test_an_unknown_key_is_refused_when_resuming_too(saved: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'optim\.lrr'"):
        resumed(tmp_path, "+optim.lrr=1")


def test_no_run_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path} is no run: there is no config\.yaml in it"):
        resumed(tmp_path)
    for damage in (b"", b"- 1\n", b"a: [", b"\xff\xfe\x00"):
        (tmp_path / SAVED).write_bytes(damage)
        with pytest.raises(ConfigError, match=rf"{tmp_path / SAVED} is damaged"):
            resumed(tmp_path)
    (tmp_path / SAVED).write_text("model: {name: base}\nrun: x\n")
    with pytest.raises(ConfigError, match=rf"'data' is missing in {tmp_path / SAVED}"):
        resumed(tmp_path)
