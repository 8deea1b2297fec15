"""The stream against what it promises: every fragment once in a pass, replay without a gap, any place found again."""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import logging
import subprocess
import sys
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.data.examples import MAX_SECONDS
from asr.data.stream import BatchStream, Draw, Position, UsableFragments, order_hash, sequential_batches
from asr.errors import ConfigError, ManifestError
from asr.fragment import Consent, Fragment
from asr.privacy.consent import ConsentCheck
from asr.training.checkpoints import STATE_VERSION

Make = Callable[..., Path]

DURATIONS = [round(0.4 + 0.37 * (number * 7 % 23), 2) for number in range(60)]


def ids(draw: Draw) -> list[str]:
    return [part.id for example in draw.examples for part in example.parts]


def passes(stream: BatchStream, count: int) -> list[list[Draw]]:
    """The draws of the first passes, pass by pass."""
    grouped: list[list[Draw]] = []
    for draw in stream:
        assert draw.after is not None
        if draw.after.batch == 1:
            if len(grouped) == count:
                break
            grouped.append([])
        grouped[-1].append(draw)
    return grouped


def heard(draws: Sequence[Draw]) -> list[str]:
    return [name for draw in draws for name in ids(draw)]


def comparable(draws: Iterator[Draw], count: int) -> list[tuple[list[str], Position | None, int]]:
    return [(ids(draw), draw.after, draw.seed) for draw in itertools.islice(draws, count)]


def test_the_same_seed_gives_the_same_batches(manifest: Make) -> None:
    path = manifest("a", DURATIONS)
    first, again, other = (comparable(iter(BatchStream([path], 20.0, seed=seed)), 40) for seed in (1, 1, 2))
    assert first == again
    assert [names for names, _, _ in first] != [names for names, _, _ in other]
    assert len({seed for _, _, seed in first + other}) == 80


def test_another_order_is_another_version_of_states(manifest: Make) -> None:
    stream = BatchStream(
        [manifest("a", DURATIONS, speaker="s"), manifest("b", DURATIONS[:9])], 20.0, (3, 1), joined=0.3
    )
    drawn = json.dumps([[ids(draw), draw.seed] for draw in itertools.islice(stream, 30)])
    known = {7: "717b20a8a257ecba"}
    assert {STATE_VERSION: hashlib.sha256(drawn.encode()).hexdigest()[:16]} == known, (
        "a run that goes on would hear fragments twice, and others never; raise STATE_VERSION, and note its order here"
    )


def test_a_pass_hears_every_fragment_once_in_another_order_each_time(manifest: Make) -> None:
    stream = BatchStream([manifest("a", DURATIONS)], 20.0)
    orders = [heard(draws) for draws in passes(stream, 3)]
    for order in orders:
        assert sorted(order) == sorted(f"a{number}" for number in range(60))
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("world_size", [1, 2])
def test_any_position_gives_the_rest(manifest: Make, world_size: int) -> None:
    paths = [manifest("a", DURATIONS[:20]), manifest("b", DURATIONS[:7]), manifest("c", [1.0, 2.0])]

    def stream() -> BatchStream:
        return BatchStream(paths, 12.0, (5, 2, 1), seed=3, rank=world_size - 1, world_size=world_size)

    whole = comparable(iter(stream()), 60)
    assert {position.epoch for _, position, _ in whole if position} >= {0, 1, 2}
    for number in range(0, 50, 7):
        rest = stream()
        after = whole[number][1]
        assert after is not None
        # As it comes back out of a file.
        rest.position = Position(after.epoch, after.batch, tuple(json.loads(json.dumps(after.offsets))))
        assert comparable(iter(rest), 59 - number) == whole[number + 1 :]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_joined_or_not_a_pass_hears_every_fragment_once(manifest: Make, world_size: int) -> None:
    paths = [manifest("a", DURATIONS, speaker="s1"), manifest("b", [1.0, 2.0], speaker="s1")]

    def stream(rank: int) -> BatchStream:
        return BatchStream(paths, 60.0, (3, 1), rank=rank, world_size=world_size, joined=0.5)

    shares = [passes(stream(rank), 2) for rank in range(world_size)]
    orders = []
    for number in range(2):
        draws = [draw for share in shares for draw in share[number]]
        assert sorted(name for name in heard(draws) if name.startswith("a")) == sorted(f"a{n}" for n in range(60))
        joined = [example for draw in draws for example in draw.examples if len(example.parts) > 1]
        assert len(joined) > 2
        # Within the limit, as all that is longer than a batch is one.
        for draw in draws:
            assert len(draw.examples) <= 1 or len(draw.examples) * max(e.seconds for e in draw.examples) <= 60.0
        orders.append([[part.id for part in example.parts] for example in joined])
    assert orders[0] != orders[1]
    # From any place on, the same.
    whole = comparable(iter(stream(0)), 20)
    rest = stream(0)
    rest.position = whole[6][1] or Position()
    assert comparable(iter(rest), 13) == whole[7:]


def test_of_a_joined_example_consent_may_end_for_a_part(manifest: Make, consent: Consent) -> None:
    path = manifest("a", [2.0] * 6, speaker="s1")
    stream = BatchStream([path], 60.0, joined=1.0)
    (draws,) = passes(stream, 1)
    (example,) = draws[0].examples
    assert len(example.parts) == 6
    stream.consent = _Without({"a1", "a4"})  # type: ignore[assignment]
    (draws,) = passes(stream, 1)
    assert [part.id for part in draws[0].examples[0].parts] == ["a0", "a2", "a3", "a5"]


class _Without:
    """Consent to all but some, who ended it after the run began."""

    def __init__(self, ended: set[str]) -> None:
        self.ended = ended

    def allows(self, fragment: Fragment) -> bool:
        return fragment.id not in self.ended


def test_replayed_manifests_go_on_where_they_stopped(manifest: Make) -> None:
    # Equal durations make one bucket, and a batch of one keeps nothing back: what is drawn is seen per pass.
    stream = BatchStream([manifest("a", [1.0] * 8), manifest("b", [1.0] * 5)], 1.0, (1, 2), seed=1)
    drawn = [[name for name in heard(draws) if name.startswith("b")] for draws in passes(stream, 12)]
    assert sum(map(len, drawn)) > 3 * 5
    number = 0
    for of_pass in drawn:
        # Within a pass the order is shuffled; which ones are there is not.
        expected = [f"b{index % 5}" for index in range(number, number + len(of_pass))]
        assert Counter(of_pass) == Counter(expected)
        number += len(of_pass)


def test_a_pass_without_a_draw_from_a_manifest_leaves_its_place(manifest: Make) -> None:
    stream = BatchStream([manifest("a", [1.0]), manifest("b", [1.0] * 5)], 1.0, (1, 1), seed=0)
    drawn = [[name for name in heard(draws) if name.startswith("b")] for draws in passes(stream, 30)]
    assert [] in drawn[1:]
    assert Counter(itertools.chain(*drawn)) == Counter(f"b{n % 5}" for n in range(sum(map(len, drawn))))


def test_a_far_place_in_a_replay_is_found_without_reading_it_over_and_over(
    manifest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = BatchStream([manifest("a", [1.0] * 3), manifest("b", [1.0] * 5)], 1.0, (1, 3), seed=0)
    stream.position = Position(2, 0, (5_000_003,))
    readings = 0
    original = UsableFragments.__iter__

    def counted(self: UsableFragments) -> Iterator[Fragment]:
        nonlocal readings
        readings += self.manifest.name == "b.jsonl"
        return original(self)

    monkeypatch.setattr(UsableFragments, "__iter__", counted)
    drawn = [name for name in heard(passes(stream, 1)[0]) if name.startswith("b")]
    assert Counter(drawn) == Counter(f"b{(3 + index) % 5}" for index in range(len(drawn)))
    assert 0 < readings < 20  # and not a million


def test_weights(manifest: Make) -> None:
    paths = [manifest("a", [1.0] * 400), manifest("b", [1.0] * 10), manifest("c", [1.0] * 900)]
    (draws,) = passes(BatchStream(paths, 10.0, (4, 1, 2)), 1)
    counts = Counter(name[0] for name in heard(draws))
    assert counts["a"] == 400
    # Expected 100 and 200; five standard deviations of a binomial draw.
    assert abs(counts["b"] - 100) < 5 * 10
    assert abs(counts["c"] - 200) < 5 * 15


def test_the_same_fragment_may_come_twice_in_a_batch(manifest: Make) -> None:
    path = manifest("a", [1.0] * 4)
    (draws,) = passes(BatchStream([path, path], 8.0), 1)
    counts = Counter(heard(draws))
    assert counts.keys() == {"a0", "a1", "a2", "a3"}
    assert max(counts.values()) > 1


@pytest.mark.parametrize("weights", [(1, 2, 3), (1,), (1, 0), (1, -1)])
def test_weights_that_fit_nothing(manifest: Make, weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="2 training manifests need as many weights above 0"):
        BatchStream([manifest("a", [1.0]), manifest("b", [1.0])], 10.0, weights)


def test_no_manifest() -> None:
    with pytest.raises(ConfigError, match="no training manifest"):
        BatchStream([], 10.0)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    durations=st.lists(st.floats(0.3, 30.0), min_size=1, max_size=60),
    world_size=st.integers(1, 9),
    batch_seconds=st.sampled_from([2.0, 20.0, 90.0]),
)
def test_processes_share_every_pass(
    manifest: Make, durations: list[float], world_size: int, batch_seconds: float
) -> None:
    path = manifest("a", durations)
    ranks = [
        passes(BatchStream([path], batch_seconds, rank=rank, world_size=world_size), 2) for rank in range(world_size)
    ]
    for number in range(2):
        shares = [draws[number] for draws in ranks]
        assert len({len(share) for share in shares}) == 1  # else one would wait for the others for ever
        # Every fragment once: none twice, none lost.
        assert sorted(name for share in shares for name in heard(share)) == sorted(
            f"a{n}" for n in range(len(durations))
        )
        for draw in itertools.chain(*shares):
            padded = len(draw.examples) * max((example.seconds for example in draw.examples), default=0)
            assert padded <= batch_seconds or len(draw.examples) == 1
        assert len({draw.seed for draw in itertools.chain(*shares)}) == world_size * len(shares[0])
        # Nobody is without fragments but in the last round.
        assert all(draw.examples for share in shares for draw in share[:-1])


def test_consent_that_ends_in_one_process_keeps_the_others_in_step(manifest: Make) -> None:
    path = manifest("a", [1.0] * 8)
    check = ConsentCheck("training", date.today() - timedelta(days=1))
    streams = [BatchStream([path], 1.0, rank=rank, world_size=2, consent=check) for rank in range(2)]
    before = [passes(stream, 1)[0] for stream in streams]
    gone = {ids(before[0][1])[0], ids(before[0][2])[0], ids(before[1][2])[0]}
    end_consent(path, gone, date.today())
    after = [passes(stream, 1)[0] for stream in streams]
    # Of the second round one half is silent, the third is passed over.
    assert [[ids(draw) for draw in share] for share in after] == [
        [ids(before[0][0]), [], ids(before[0][3])],
        [ids(before[1][0]), ids(before[1][1]), ids(before[1][3])],
    ]


def test_a_manifest_is_known_by_all_but_consent(manifest: Make) -> None:
    path = manifest("a", [1.0, 2.0])
    before = order_hash(path)
    end_consent(path, {"a0"}, date.today())
    assert order_hash(path) == before
    rows = path.read_text("utf-8").splitlines()
    for changed in (rows[:1], rows[::-1], [rows[0].replace("hello", "bye"), rows[1]], [*rows, "{broken"]):
        path.write_text("\n".join(changed) + "\n", "utf-8")
        assert order_hash(path) != before


@pytest.mark.parametrize("world_size", [1, 2])
def test_batch_seconds_hold_padding_included(manifest: Make, world_size: int) -> None:
    # Mostly very short fragments and a few long ones: the case in which counting as one goes along overshoots.
    durations = [0.3] * 80 + [0.31 + 0.01 * number for number in range(80)] + [12.0, 20.0, 29.0, 30.0, 5.0] * 4
    path = manifest("a", durations)
    (draws,) = passes(BatchStream([path], 31.0, world_size=world_size), 1)
    padded = [len(draw.examples) * max(example.seconds for example in draw.examples) for draw in draws]
    assert max(padded) <= 31.0
    # And the batches are well filled: short fragments do not travel alone.
    assert len(draws) * world_size < 40
    sequence = list(sequential_batches(UsableFragments(path), 31.0))
    assert max(len(batch) * max(example.seconds for example in batch) for batch in sequence) <= 31.0


def test_a_fragment_longer_than_a_batch_is_a_batch(manifest: Make) -> None:
    (draws,) = passes(BatchStream([manifest("a", [30.0, 29.0, *[1.0] * 20])], 2.0), 1)
    assert sorted(len(draw.examples) for draw in draws) == [1, 1, *[2] * 10]
    assert {tuple(ids(draw)) for draw in draws if len(draw.examples) == 1} == {("a0",), ("a1",)}


@pytest.mark.parametrize("durations", [[1.0], [1.0, 1.0], [30.0], [0.5, 30.0], [2.0, 2.0, 2.0], [2.0] * 25])
def test_few_or_equal_fragments(manifest: Make, durations: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (draws,) = passes(BatchStream([manifest("a", durations)], 60.0), 1)
    assert sorted(heard(draws)) == sorted(f"a{number}" for number in range(len(durations)))


def test_sequential_batches_hold_every_fragment_once_and_of_like_length(manifest: Make) -> None:
    path = manifest("a", DURATIONS)
    whole = [[example.fragment.id for example in batch] for batch in sequential_batches(UsableFragments(path), 20.0)]
    assert sorted(itertools.chain(*whole)) == sorted(f"a{number}" for number in range(60))
    assert len(whole) < 30
    parts = [
        [item.fragment.id for batch in sequential_batches(UsableFragments(path), 20.0, rank, 3) for item in batch]
        for rank in range(3)
    ]
    assert sorted(itertools.chain(*parts)) == sorted(f"a{number}" for number in range(60))
    assert [list(batch) for batch in sequential_batches(UsableFragments(manifest("b", [1.0])), 20.0, 1, 2)] == []


@pytest.fixture
def faulty(tmp_path: Path, consent: Consent) -> Path:
    """One usable fragment among all kinds that are not."""
    soundfile.write(tmp_path / "two.wav", np.zeros(32000), 16000)
    rows = [
        {"id": "long", "duration": 31.0},
        {"id": "wordy", "duration": 2.0, "text": "secret " * 600},
        {"id": "silent", "text": ""},
        {"id": "gone", "audio": "secret.wav"},
        {"id": "late", "audio": "two.wav", "start": 2.5},
        {"id": "klingon", "duration": 1.0, "language": "tlh"},
        {"id": "marked", "duration": 1.0, "text": "<|0.00|> secret<|endoftext|>"},
        {"id": "strange", "duration": 1.0, "dialect": "<|fr|>"},
        {"id": "good", "audio": "two.wav", "start": 0.5},
        {"id": "exact", "duration": MAX_SECONDS},
    ]
    common: dict[str, object] = {"audio": "secret.wav", "text": "secret", "language": "en", "speaker": "secret"}
    common["consent"] = consent.model_dump(mode="json")
    lines = [json.dumps(common | row) for row in rows]
    lines[2] = '{"id": "broken", "text": "secret"'
    path = tmp_path / "faulty.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_what_cannot_be_learnt_from_is_left_out_and_named(faulty: Path, caplog: pytest.LogCaptureFixture) -> None:
    fragments = UsableFragments(faulty, ("en", "fr"))
    with caplog.at_level(logging.WARNING):
        kept = list(fragments)
        assert [(item.id, item.duration) for item in kept] == [("good", 1.5), ("exact", 30.0)]
        assert [item.id for item in fragments] == ["good", "exact"]
    lines = caplog.messages
    assert len(lines) == 9  # not again in the second pass
    for line, (number, name) in zip(
        lines,
        [(1, "long"), (2, "wordy"), (3, ""), (4, "gone"), (5, "late"), (6, "klingon"), (7, "marked"), (8, "strange")],
        strict=False,
    ):
        assert line.startswith(f"left out (faulty.jsonl:{number}): ")
        assert not name or f"'{name}'" in line
    assert lines[0].endswith("fragment 'long' lasts 31.0 s, Whisper hears 30 s at a time; cut it")
    assert "'wordy' has 606 tokens" in lines[1]
    assert "which the model does not know" in lines[5]
    assert lines[-1] == "faulty.jsonl: 8 of 10 fragments were left out"
    everything = "\n".join(lines)
    assert "secret" not in everything
    assert str(faulty.parent) not in everything


def test_many_faults_are_counted_and_ten_named(manifest: Make, caplog: pytest.LogCaptureFixture) -> None:
    path = manifest("a", [31.0] * 25 + [1.0])
    stream = BatchStream([path], 10.0)
    for _ in itertools.islice(stream, 5):
        pass
    assert len(caplog.messages) == 11
    assert caplog.messages[-1] == "a.jsonl: 25 of 26 fragments were left out"


def test_nothing_usable(manifest: Make, tmp_path: Path) -> None:
    for path in (manifest("a", [31.0, 32.0]), manifest("b", [])):
        with pytest.raises(ManifestError, match=f"no fragment in it can be used.*{path}"):
            next(iter(BatchStream([path], 10.0)))
        with pytest.raises(ManifestError, match="no fragment in it can be used"):
            next(iter(BatchStream([manifest("good", [1.0]), path], 10.0, (1, 1000))))
    with pytest.raises(ManifestError, match="no such manifest"):
        next(iter(BatchStream([tmp_path / "gone.jsonl"], 10.0)))


def test_languages_that_the_model_does_not_know(manifest: Make) -> None:
    path = manifest("a", [1.0], language="yue")
    assert len(next(iter(BatchStream([path], 10.0, languages=("en", "yue")))).examples) == 1
    with pytest.raises(ManifestError, match="no fragment in it can be used"):
        next(iter(BatchStream([path], 10.0, languages=("en",))))


def test_a_manifest_is_read_as_a_stream(manifest: Make) -> None:
    path = manifest("a", [1.0] * 20_000, text="x" * 100)
    tracemalloc.start()
    count = sum(1 for _ in UsableFragments(path))
    gc.collect()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 2e6 < path.stat().st_size


def test_drawing_holds_no_more_than_it_shuffles(manifest: Make) -> None:
    # Beyond the 20 000 that lhotse shuffles; all others would take some 50 MB.
    path = manifest("a", [1.0, 2.0, 3.0] * 15_000)
    done = subprocess.run([sys.executable, "-c", _DRAW, str(path)], capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late - early < 10_000, "KiB"


_DRAW = """
import resource, sys
from asr.data.stream import BatchStream

heard = 0
for draw in BatchStream([sys.argv[1]], 60.0, joined=0.1):
    if heard < 22_000 <= heard + len(draw.examples):
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    heard += len(draw.examples)
    if draw.after.epoch:
        break
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def end_consent(path: Path, names: set[str], day: date) -> None:
    """Let some fragments' consent be withdrawn, as somebody does who edits the manifest."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        if row["id"] in names:
            row["consent"]["withdrawn"] = day.isoformat()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def test_only_what_has_consent_is_drawn(manifest: Make) -> None:
    one, two = manifest("a", [1.0] * 8), manifest("b", [1.0] * 8)
    today = date.today()
    end_consent(one, {"a1", "a2"}, today)
    end_consent(two, {"b3"}, today)
    (draws,) = passes(BatchStream([one, two], 3.0, seed=1), 1)
    assert sorted(name for name in heard(draws) if name[0] == "a") == ["a0", "a3", "a4", "a5", "a6", "a7"]
    everything = {name for draws in passes(BatchStream([one, two], 3.0, seed=1), 5) for name in heard(draws)}
    assert everything == {f"a{n}" for n in (0, 3, 4, 5, 6, 7)} | {f"b{n}" for n in (0, 1, 2, 4, 5, 6, 7)}
    (unasked,) = passes(BatchStream([one], 3.0, consent=None), 1)
    assert len(heard(unasked)) == 8
    none = manifest("c", [1.0], consent=None)
    with pytest.raises(ManifestError, match=r"no fragment in it can be used \(1 have no consent to training\)"):
        next(iter(BatchStream([none], 3.0)))


@pytest.mark.parametrize("days_ago", [0, 2])
def test_consent_that_ends_while_a_run_lies_interrupted_moves_nobody_else(manifest: Make, days_ago: int) -> None:
    paths = [manifest("a", DURATIONS), manifest("b", DURATIONS)]
    began = date.today() - timedelta(days=days_ago)
    check = ConsentCheck("training", began)
    whole = list(itertools.islice(BatchStream(paths, 12.0, (3, 1), seed=2, consent=check), 60))
    stopped = whole[10].after
    gone = {"a3", "a17", "b5", *ids(whole[14])}  # all of one batch among them
    # Withdrawn on the first day of the run, or on one since.
    for path in paths:
        end_consent(path, gone, began)
    again = BatchStream(paths, 12.0, (3, 1), seed=2, consent=check)
    assert stopped is not None
    again.position = stopped
    expected = [
        ([name for name in ids(draw) if name not in gone], draw.after, draw.seed)
        for draw in whole[11:]
        if not set(ids(draw)) <= gone
    ]
    assert len(expected) < 49, "a batch of which nothing is left is passed over"
    assert comparable(iter(again), len(expected)) == expected


def test_a_pass_of_which_nothing_may_be_heard_ends_the_stream(manifest: Make) -> None:
    path = manifest("a", [1.0] * 4)
    stream = BatchStream([path], 2.0, consent=ConsentCheck("training", date.today() - timedelta(days=1)))
    draws = iter(stream)
    next(draws)
    end_consent(path, {"a0", "a1", "a2", "a3"}, date.today())
    with pytest.raises(ManifestError, match="the consent of every fragment in it has ended"):
        list(draws)
