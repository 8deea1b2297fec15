"""How a script ends: which exit code, and which sentence."""

from __future__ import annotations

import errno
import logging
import signal
from collections.abc import Iterator

import pytest

from asr.entry import entry_point
from asr.errors import ConfigError, LostProcessError, ManifestError
from asr.training.checkpoints import TrainingStopped


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    names = ("", "asr")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("'optim.lr' is wrong"), 1, "asr: 'optim.lr' is wrong\n"),
        (ManifestError("broken", "m.jsonl", 3), 1, "asr: broken (m.jsonl:3)\n"),
        (LostProcessError("it is gone"), 69, "asr: it is gone\n"),
        (TrainingStopped("stopped", signal.SIGINT), 75, "asr: stopped\n"),
        (TrainingStopped("stopped", signal.SIGTERM), 75, "asr: stopped\n"),
        (TrainingStopped("stopped", signal.SIGTERM, 0), 0, "asr: stopped\n"),
        (KeyboardInterrupt(), 130, "asr: interrupted\n"),
        (PermissionError(errno.EACCES, "Permission denied", "out.json"), 1, "asr: Permission denied (out.json)\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "asr: No space left on device\n"),
        (OSError("odd"), 1, "asr: odd\n"),
    ],
)
def test_errors_become_a_sentence_and_a_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, entry_point():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr() == ("", message)


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), entry_point():
        raise ZeroDivisionError


def test_what_goes_well_ends_well() -> None:
    with entry_point():
        assert logging.getLogger("asr.training").isEnabledFor(logging.INFO)
