"""What a configuration becomes: a run whose checkpoint tells where it came from, and a report."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
import torch
import yaml
from mlflow.tracking import MlflowClient
from whisper.model import Whisper

import asr.addresses
import asr.build
from asr import Transcriber, read_manifest
from asr.build import reached, run_evaluation, run_training, run_trial
from asr.config import (
    AdapterConfig,
    AugmentConfig,
    DataConfig,
    DecodeConfig,
    EvaluateConfig,
    ModelConfig,
    TrainConfig,
    plain,
)
from asr.data.batch import BatchOptions
from asr.data.pack import pack
from asr.errors import CheckpointError, ConfigError, ManifestError, RecordError, TrainingError
from asr.evaluation import EvaluationReport, score
from asr.fragment import Consent, Fragment, write_manifest
from asr.inference.decoding import DecodeOptions
from asr.intent.training import Example, IntentOptions, train_intent_model
from asr.model.adapt import LoraOptions
from asr.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from asr.model.heads import HeadSpec
from asr.model.network import DialectWhisper
from asr.privacy.record import open_record
from asr.sums import sha256_of
from asr.training.card import read_card
from asr.training.checkpoints import TrainingStopped
from asr.training.heads import HeadOptions
from asr.training.optim import OptimOptions
from asr.training.run import TrainerOptions
from asr.training.task import TranscriptionTask
from asr.training.tracking import LoggerOptions
from asr.weights.state import weights_sha256


@pytest.fixture
def config(tiny_whisper: Whisper, corpus: Path, tmp_path: Path) -> TrainConfig:
    info = CheckpointInfo("tiny-random", dialects={"de-AT": "de"}, tags=("de-AT",))
    save_checkpoint(DialectWhisper(tiny_whisper), info, tmp_path / "tiny.pt")
    return TrainConfig(
        ModelConfig(str(tmp_path / "tiny.pt"), margin=0.3, tail=60),
        DataConfig((str(corpus),), batch_seconds=2.0, workers=0),
        str(tmp_path / "run"),
        optim=OptimOptions(lr=1e-2, warmup_steps=0),
        trainer=TrainerOptions(max_steps=1, accelerator="cpu", precision="32-true"),
    )


def test_a_run_and_what_its_checkpoint_says(config: TrainConfig, corpus: Path, tmp_path: Path) -> None:
    best = run_training(config)
    assert best == tmp_path / "run/checkpoints/last.pt"
    loaded = load_checkpoint(best)
    info = loaded.info
    assert (info.base_model, info.window, info.margin, info.tail) == ("tiny-random", "tight", 0.3, 60)
    # Those of the corpus beside those that the base knew already.
    assert info.dialects == {"de-AT": "de", "en-GB": "en", "fr-CA": "fr"}
    assert info.tags == ("de-AT",) and info.joined
    assert info.manifests == {str(corpus): hashlib.sha256(corpus.read_bytes()).hexdigest()}
    assert info.training_config == plain(config)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text("utf-8")) == plain(config)
    start = load_checkpoint(config.model.name).model.whisper.state_dict()
    assert not torch.equal(loaded.model.whisper.state_dict()["decoder.ln.weight"], start["decoder.ln.weight"])


@pytest.mark.parametrize(("mode", "expected"), [("full", ("de-AT", "en-GB", "fr-CA")), ("heads_only", ("de-AT",))])
def test_a_checkpoint_knows_which_dialects_were_told(config: TrainConfig, mode: Any, expected: tuple[str, ...]) -> None:
    heads = HeadOptions(dialect=1.0)
    told = replace(config, data=replace(config.data, tags=0.5), adapter=AdapterConfig(mode), heads=heads)
    info = load_checkpoint(run_training(told)).info
    # Nor does it hear longer windows than its base, which was not taught to.
    assert info.tags == expected and info.joined == (mode == "full")


def test_the_seed_decides_everything(config: TrainConfig, tmp_path: Path) -> None:
    lora = replace(config, adapter=AdapterConfig("lora", LoraOptions(rank=2)))
    ends = []
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        torch.rand(len(ends) + 1)  # whatever was drawn before
        best = run_training(replace(lora, seed=seed, run=str(tmp_path / name)))
        ends.append(torch.load(best.with_name("last.state"), weights_only=True)["state_dict"])
    name = next(name for name in ends[0] if "lora_A" in name)
    assert torch.equal(ends[0][name], ends[1][name])
    assert not torch.equal(ends[0][name], ends[2][name])


def test_a_packed_corpus_trains_the_same_wherever_it_lies(
    config: TrainConfig, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory"}))
    pack([corpus], tmp_path / "packed", shard_size=5, consent=None)
    fsspec.filesystem("memory").put(str(tmp_path / "packed"), "/packed", recursive=True)
    # The same order as packed, read from the files themselves.
    files = {item.id: item for item in read_manifest(corpus)}
    packed = tmp_path / "packed" / "fragments.jsonl"
    write_manifest([files[item.id] for item in read_manifest(packed)], tmp_path / "ordered.jsonl")
    ends = []
    for name, manifest in (
        ("files", str(tmp_path / "ordered.jsonl")),
        ("packed", str(packed.parent)),
        ("stored", "memory://packed"),
    ):
        run = tmp_path / name
        given = replace(config, data=replace(config.data, train=(manifest,)), run=str(run))
        given = replace(given, trainer=replace(given.trainer, max_steps=3))
        ends.append(load_checkpoint(run_training(given)).model.whisper.state_dict())
        # A run that goes on asks the store again, for consent may have ended.
        assert yaml.safe_load((run / "config.yaml").read_text("utf-8"))["data"]["train"] == [manifest]
    for other in ends[1:]:
        for name, weights in ends[0].items():
            torch.testing.assert_close(other[name], weights, rtol=0, atol=0)
    info = load_checkpoint(tmp_path / "stored" / "checkpoints" / "last.pt").info
    assert list(info.manifests) == info.training_config["data"]["train"] == ["memory://packed"]


def test_a_run_on_object_storage_goes_on_from_another_folder(
    config: TrainConfig, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.addresses, "STORES", frozenset({"memory"}))
    pack([corpus], tmp_path / "packed", shard_size=5, consent=None)
    fsspec.filesystem("memory").put(str(tmp_path / "packed"), "/resumed", recursive=True)
    data = replace(config.data, train=("memory://resumed",))
    config = replace(config, data=data, trainer=replace(config.trainer, max_steps=4))
    run_training(replace(config, run=str(tmp_path / "whole")))
    step = TranscriptionTask.training_step

    def stop(self: TranscriptionTask, batch: Any, index: int) -> torch.Tensor:
        if self.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(TrainingStopped):
        patch.setattr(TranscriptionTask, "training_step", stop)
        run_training(config)
    shutil.move(config.run, tmp_path / "moved")
    resumed = replace(config, run=str(tmp_path / "moved"), resume=str(tmp_path / "moved"))
    run_training(resumed)
    ends = [
        torch.load(tmp_path / name / "checkpoints" / "last.state", weights_only=True)["state_dict"]
        for name in ("whole", "moved")
    ]
    for name, weights in ends[0].items():
        torch.testing.assert_close(ends[1][name], weights, rtol=0, atol=0)
    # Another corpus in its place is another order.
    pack([corpus], tmp_path / "packed", shard_size=5, seed=1, consent=None)
    fsspec.filesystem("memory").rm("/resumed", recursive=True)
    fsspec.filesystem("memory").put(str(tmp_path / "packed"), "/resumed", recursive=True)
    with pytest.raises(ManifestError, match="not the one that this run began with"):
        run_training(resumed)


def test_a_run_is_not_written_over(config: TrainConfig, tmp_path: Path) -> None:
    run_training(config)
    before = (tmp_path / "run/config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=rf"{config.run} holds a run already; go on with resume={config.run}, or"):
        run_training(replace(config, seed=1))
    assert (tmp_path / "run/config.yaml").read_bytes() == before


def test_a_run_that_came_to_nothing_may_be_begun_again(config: TrainConfig) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nowhere\.pt'"):
        run_training(replace(config, model=ModelConfig("nowhere.pt")))
    card = read_card(Path(config.run))
    assert card is not None and [part["status"] for part in card["parts"]] == ["failed"]
    assert run_training(config).is_file()
    card = read_card(Path(config.run))
    assert card is not None and [part["status"] for part in card["parts"]] == ["finished"]


def test_a_run_has_a_card(config: TrainConfig, corpus: Path, dev: Path, tiny_whisper: Whisper) -> None:
    config = replace(config, data=replace(config.data, dev=(str(dev),)))
    config = replace(config, trainer=replace(config.trainer, validate_every=1, monitor="dev/loss"))
    best = run_training(config)
    card = read_card(Path(config.run))
    assert card is not None and card["config"] == plain(config)
    (part,) = card["parts"]
    assert [(one["for"], one["name"], one["fragments"], one["sha256"]) for one in part["manifests"]] == [
        ("training", "corpus.jsonl", 12, sha256_of(corpus)), ("development", "dev.jsonl", 2, sha256_of(dev))
    ]  # fmt: skip
    assert part["status"] == "finished" and part["environment"]["device"].endswith("threads, 32-true")
    assert card["base"] == {"name": config.model.name, "weights_sha256": weights_sha256(tiny_whisper)}
    assert card["figures"]["best"]["checkpoint"] == best.name
    assert reached(config) == load_checkpoint(best).info.metrics["dev/loss"]
    text = (Path(config.run) / "card.md").read_text("utf-8")
    # Fragments, their words and their recordings are nowhere.
    assert not any(word in text + json.dumps(card) for word in ("sentence number", ".wav", '"f1"'))


def test_a_run_that_goes_on_keeps_its_card_and_its_run_in_mlflow(config: TrainConfig) -> None:
    config = replace(config, logger=LoggerOptions("mlflow"))
    run_training(config)
    longer = replace(config.trainer, max_steps=2)
    run_training(replace(config, resume=config.run, trainer=longer))
    card = read_card(Path(config.run))
    assert card is not None and [part["status"] for part in card["parts"]] == ["finished", "finished"]
    assert card["figures"]["steps"] == 2 and card["config"]["trainer"]["max_steps"] == 2
    with pytest.raises(CheckpointError):
        (Path(config.run) / "checkpoints/last.state").unlink()
        run_training(replace(config, resume=config.run, trainer=longer))
    client = MlflowClient(f"sqlite:///{config.run}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("dialect-asr")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FAILED"
    assert tracked.data.params["optim/lr"] == "0.01"
    assert not any("/" in value for value in tracked.data.params.values())
    held = Path(client.download_artifacts(tracked.info.run_id, "card.json"))
    assert [part["status"] for part in json.loads(held.read_bytes())["parts"]] == ["finished", "finished", "failed"]


def test_a_trial_of_a_search_tells_its_figure(config: TrainConfig, dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, data=replace(config.data, dev=(str(dev),)))
    config = replace(config, trainer=replace(config.trainer, validate_every=1, monitor="dev/loss"))
    value = run_trial(config)
    assert 5 < value < 20 and value == reached(config)

    def diverges(*_: object, **__: object) -> Path:
        raise TrainingError("the loss is not finite in step 3")

    monkeypatch.setattr(asr.build, "train", diverges)
    assert run_trial(replace(config, run=f"{config.run}2")) == math.inf


def test_every_key_arrives(config: TrainConfig, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def train(model: DialectWhisper, info: object, folder: Path, **options: Any) -> Path:
        seen.update(options, model=model, folder=folder)
        return folder

    monkeypatch.setattr(asr.build, "train", train)
    changed = replace(
        config,
        adapter=AdapterConfig("decoder_only"),
        augment=AugmentConfig(speeds=(1.1,), noise=0.7, time_masks=5),
        data=DataConfig(
            (str(corpus),),
            weights=(2.0,),
            dev=(str(corpus),),
            batch_seconds=7.0,
            workers=3,
            margin=(0.2, 0.4),
            timestamps=0.6,
            tags=0.3,
            prompts=0.4,
            silence=0.05,
        ),
        resume=config.run,
        seed=5,
    )
    run_training(changed)
    assert not (Path(config.run) / "config.yaml").exists()  # resuming begins nothing
    assert seen["resume"] is True
    assert (seen["seed"], seen["folder"]) == (5, Path(config.run))
    assert seen["optim"] is changed.optim
    assert seen["trainer"] is changed.trainer
    data = seen["data"]
    assert (data.train, data.dev, data.weights) == ((str(corpus),), (str(corpus),), (2.0,))
    assert (data.batch_seconds, data.workers) == (7.0, 3)
    assert seen["batch"] == BatchOptions((0.2, 0.4), 0.6, (1.1,), 0.3, 0.4, 0.05)
    augment = seen["augment"].options
    assert (augment.noise, augment.time_masks, augment.gain_db) == (0.7, 5, (-8.0, 4.0))
    whisper = seen["model"].whisper
    assert [whisper.encoder.conv1.weight.requires_grad, whisper.decoder.ln.weight.requires_grad] == [False, True]


@pytest.mark.parametrize("side", ["train", "dev"])
def test_a_missing_manifest_is_found_before_anything_is_begun(config: TrainConfig, tmp_path: Path, side: str) -> None:
    data = replace(config.data, **{side: (*config.data.train, str(tmp_path / "gone.jsonl"))})
    with pytest.raises(ManifestError, match=rf"there is no such manifest; check the path \({tmp_path}/gone\.jsonl\)"):
        run_training(replace(config, data=data, model=ModelConfig("nowhere.pt")))
    assert not Path(config.run).exists()


def test_options_that_cannot_work_together(config: TrainConfig) -> None:
    for wrong, message in (
        (replace(config, augment=AugmentConfig(speeds=())), "speeds must be one or more factors"),
        (replace(config, data=replace(config.data, margin=(1.0, 0.0))), "margin must be two rising numbers"),
        (replace(config, data=replace(config.data, weights=(1.0, 2.0))), "1 training manifests need as many weights"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_training(wrong)


def test_an_evaluation_with_a_baseline(
    tiny_checkpoint: Path,
    dev: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A random model finds no end.
    monkeypatch.setattr(asr.build, "DecodeOptions", partial(DecodeOptions, max_tokens=6))
    output = tmp_path / "new" / "report.json"
    config = EvaluateConfig(
        str(tiny_checkpoint),
        {"a": str(dev)},
        baseline=str(tiny_checkpoint),
        output=str(output),
        device="cpu",
        resamples=50,
    )
    run_evaluation(config)
    report = json.loads(output.read_text("utf-8"))
    assert (report["fragments"], report["failed"]) == (2, 0)
    assert report["system"] == report["baseline"] == str(tiny_checkpoint)
    printed = capsys.readouterr().out
    assert "fr-CA" in printed
    # The same figures as by hand, from what the model says.
    fragments = list(read_manifest(dev))
    transcriber = Transcriber(tiny_checkpoint, device="cpu", options=DecodeOptions(max_tokens=6))
    said = [transcriber.transcribe(fragment).text for fragment in fragments]
    expected: EvaluationReport = score(fragments, said, said, resamples=50)
    words = report["targets"][0]["overall"]["system"]["words"]
    assert words["insertions"] == expected.targets[0].overall.system.words.insertions
    assert words["substitutions"] == expected.targets[0].overall.system.words.substitutions


def test_system_and_baseline_are_each_told_their_own(
    config: TrainConfig, dev: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def evaluate(system: Transcriber, *sets: object, baseline: Transcriber, **others: object) -> EvaluationReport:
        seen.update(system=system.options.tag, baseline=baseline.options.tag)
        raise KeyboardInterrupt

    monkeypatch.setattr(asr.build, "evaluate", evaluate)
    name = config.model.name
    asked = EvaluateConfig(name, {"a": str(dev)}, name, decode=DecodeConfig(tag="de-AT"), baseline_tag="never")
    with pytest.raises(KeyboardInterrupt):
        run_evaluation(asked)
    assert seen == {"system": "de-AT", "baseline": "never"}
    with pytest.raises(ConfigError, match="tag 'fr-CA' cannot be told"):
        run_evaluation(replace(asked, baseline_tag="fr-CA"))


def test_an_evaluation_with_pictures(
    tiny_whisper: Whisper,
    voice: Callable[..., np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    consent: Consent,
) -> None:
    # Of noise a head tells nothing.
    fragments = []
    for number, dialect in enumerate(("en-GB", "en-IN")):
        soundfile.write(tmp_path / f"{number}.wav", voice(0.6, number), 16000)
        fragments.append(
            Fragment(
                id=dialect,
                audio=str(tmp_path / f"{number}.wav"),
                text="yes",
                language="en",
                dialect=dialect,
                consent=consent,
            )
        )
    dev = tmp_path / "dev.jsonl"
    write_manifest(fragments, dev)
    monkeypatch.setattr(asr.build, "DecodeOptions", partial(DecodeOptions, max_tokens=6))
    model = DialectWhisper(tiny_whisper)
    model.set_heads({"dialect": HeadSpec(("en-GB", "en-IN", "fr-CA"), ("en", "en", "fr"), temperature=2.0)})
    save_checkpoint(model, CheckpointInfo("tiny-random"), tmp_path / "heads.pt")
    pictures, output = tmp_path / "pictures", tmp_path / "report.json"
    config = EvaluateConfig(
        str(tmp_path / "heads.pt"),
        {"a": str(dev)},
        output=str(output),
        pictures=str(pictures),
        device="cpu",
        resamples=20,
    )
    run_evaluation(config)
    drawn = ["dialect-confusion.png", "dialect-reliability.png", "dialect-risk.png"]
    assert sorted(path.name for path in pictures.iterdir()) == drawn
    (told,) = json.loads(output.read_text("utf-8"))["labels"]
    assert told["reliability_before"]["error"] is not None
    assert not caplog.messages
    model.heads.clear()
    save_checkpoint(model, CheckpointInfo("tiny-random"), tmp_path / "heads.pt")
    run_evaluation(replace(config, pictures=str(tmp_path / "none")))
    assert caplog.messages == ["there is nothing to draw: no head of the system told a label that the fragments have"]
    assert not (tmp_path / "none").exists()


def test_an_evaluation_of_intents(
    tiny_checkpoint: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.build, "DecodeOptions", partial(DecodeOptions, max_tokens=6))
    learnt = [Example(text, text[:1], "en") for text in ("a lamp", "a light", "play jazz", "play on")]
    model = train_intent_model(learnt, IntentOptions(buckets=0))
    model.save(tmp_path / "intents.safetensors")
    write_manifest([one.replace(custom={"intent": "p"}) for one in read_manifest(dev)], tmp_path / "intents.jsonl")
    output = tmp_path / "report.json"
    config = EvaluateConfig(
        str(tiny_checkpoint),
        {"a": str(tmp_path / "intents.jsonl")},
        output=str(output),
        device="cpu",
        resamples=20,
        intent_model=str(tmp_path / "intents.safetensors"),
        standard="fr-CA",
    )
    run_evaluation(config)
    (told,) = json.loads(output.read_text("utf-8"))["intents"]
    assert told["fragments"] == 2 and told["readings"][1]["reading"] == "heard"
    noted = next(iter(open_record().entries())).details["intent_model"]
    assert noted == {"name": "intents.safetensors", "sha256": sha256_of(tmp_path / "intents.safetensors")}
    with pytest.raises(ConfigError, match="give intent_model= too"):
        run_evaluation(replace(config, intent_model=None))
    with pytest.raises(asr.errors.AsrError, match="standard=xx names neither"):
        run_evaluation(replace(config, standard="xx"))


def test_an_evaluation_without_fragments(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_manifest([], tmp_path / "empty.jsonl")
    config = EvaluateConfig(str(tiny_checkpoint), {"a": str(tmp_path / "empty.jsonl")}, device="cpu")
    with pytest.raises(asr.errors.AsrError, match="there is no fragment to score"):
        run_evaluation(config)


def test_a_run_and_its_checkpoints_are_on_the_record(config: TrainConfig, corpus: Path, dev: Path) -> None:
    config = replace(config, data=replace(config.data, dev=(str(dev),)), why="to hear Québec")
    best = run_training(config)
    begun, ended = open_record().entries()
    assert (begun.action, begun.why, begun.who) == ("train", "to hear Québec", "tester")
    # Through the hash, from any copy of the manifest to the checkpoints, and back.
    assert [(one.name, one.sha256) for one in begun.manifests] == [
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in (corpus, dev)
    ]
    assert begun.details["run"] == "run" and begun.details["model"] == {
        "name": "tiny.pt",
        "sha256": sha256_of(Path(config.model.name)),
    }
    assert begun.details["refused"] == {} and "without_consent_check" not in begun.details
    assert (ended.details["begun"], ended.details["stage"]) == (begun.number, "end")
    assert ended.details["checkpoints"] == {path.name: sha256_of(path) for path in best.parent.glob("*.pt")}
    assert ended.details["checkpoints"]
    # A second run there never begins, and makes none of them its own.
    with pytest.raises(ConfigError, match="holds a run already"):
        run_training(config)
    assert len(list(open_record().entries())) == 2
    assert open_record().verify() == []


def test_only_the_first_of_several_processes_writes_to_the_record(
    config: TrainConfig, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.build, "train", lambda *_, **__: Path())
    monkeypatch.setattr(asr.build.rank_zero_only, "rank", 1)
    run_training(config)
    assert not record.exists()


def test_what_cannot_be_recorded_is_not_trained(config: TrainConfig, record: Path) -> None:
    record.mkdir()
    with pytest.raises(RecordError, match=r"nothing was done: the record .* cannot be written"):
        run_training(config)
    assert not Path(config.run).exists()


def test_consent_that_ends_between_two_parts_of_a_run_is_honoured(
    config: TrainConfig, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yesterday = date.today() - timedelta(days=1)
    config = replace(config, consent_day=yesterday.isoformat())
    run_training(config)
    fragments = list(read_manifest(corpus))
    withdrawn = fragments[0].consent.model_copy(update={"withdrawn": date.today()})  # type: ignore[union-attr]
    write_manifest([fragments[0].replace(consent=withdrawn), *fragments[1:]], corpus)
    saved = yaml.safe_load((Path(config.run) / "config.yaml").read_text("utf-8"))
    assert saved["consent_day"] == yesterday.isoformat(), "from whose consents the order is drawn"
    longer = replace(config.trainer, max_steps=2)
    run_training(replace(config, resume=config.run, trainer=longer))
    assert any(f"has ended since the run began on {yesterday}" in line for line in caplog.messages)
    begun = list(open_record().entries())[2]
    assert begun.details["resumed"] is True and begun.details["refused"] == {"withdrawn": 1}
    rows = [json.loads(line) for line in (Path(config.run) / "log.jsonl").read_text("utf-8").splitlines()]
    assert [row["refused/withdrawn"] for row in rows if "refused/withdrawn" in row] == [1.0]


def test_without_consent_nothing_is_learnt_unless_it_is_spelled_out(config: TrainConfig, corpus: Path) -> None:
    write_manifest([item.replace(consent=None) for item in read_manifest(corpus)], corpus)
    with pytest.raises(ManifestError, match=r"12 of 12 .* want of consent to training \(12 none\)"):
        run_training(config)
    assert not Path(config.run).exists()
    run_training(replace(config, without_consent_check=True))
    assert next(open_record().entries()).details["without_consent_check"] is True


def test_no_such_day_is_a_sentence(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="'consent_day' is '2026-02-30'"):
        run_training(replace(config, consent_day="2026-02-30"))


def test_an_evaluation_asks_for_its_own_purpose_and_is_on_the_record(
    tiny_checkpoint: Path, dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr.build, "DecodeOptions", partial(DecodeOptions, max_tokens=6))
    first, second = read_manifest(dev)
    for_training = first.consent.model_copy(update={"purposes": ("training",)})  # type: ignore[union-attr]
    write_manifest([first.replace(consent=for_training), second], dev)
    output = tmp_path / "report.json"
    config = EvaluateConfig(str(tiny_checkpoint), {"a": str(dev)}, output=str(output), device="cpu", resamples=20)
    run_evaluation(config)
    report = json.loads(output.read_text("utf-8"))
    assert (report["fragments"], report["refused"]) == (1, {"purpose": 1})
    begun, ended = open_record().entries()
    assert (begun.action, begun.manifests[0].name) == ("evaluate", "dev.jsonl")
    assert begun.details["models"] == [{"name": "tiny.pt", "sha256": sha256_of(tiny_checkpoint)}]
    assert (ended.details["fragments"], ended.details["refused"]) == (1, {"purpose": 1})
    run_evaluation(replace(config, without_consent_check=True))
    assert json.loads(output.read_text("utf-8"))["fragments"] == 2
    assert list(open_record().entries())[2].details["without_consent_check"] is True
