"""Imports the prompts of the Asterisk telephone exchange: voice actors, a sentence a file, out of Debian's packages.

A language takes two packages: ``asterisk-core-sounds-fr-g722`` has the recordings, ``asterisk-core-sounds-fr`` the
list of what they say. The list was written for technicians, not for recognisers: tones are described in brackets, words
lack their accents, and some sentences were spoken otherwise. What the recipe corrects is what was found by
comparing the list with the recordings; the list's own text stays in ``custom["source_text"]``.
"""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

from pydantic import JsonValue

from asr.audio import probe
from asr.errors import AsrError, ConfigError
from asr.fragment import Fragment
from asr.importers.chance import check_shares, split_of

log = logging.getLogger(__name__)

LICENCE = "CC-BY-SA-3.0"

# Language, as the packages are named, to the dialect that their descriptions name.
DIALECTS: Mapping[str, str] = MappingProxyType({"fr": "fr-CA", "en": "en-US", "es": "es-MX"})

# Third part of a folder such as fr_CA_f_NAME.
_GENDERS = {"f": "female", "m": "male"}
# Words that a clause needs to count as the same wherever it stands: "press 1" may be on both sides of the split.
_CLAUSE = 4


@dataclass(frozen=True, slots=True)
class AsteriskOptions:
    """Options of `import_asterisk`.

    Attributes:
        languages: Out of `DIALECTS`.
        left_out: Names of prompts, ``*`` for any characters, whose listed text is not what is said.
        texts: Language to prompt to what is really said; null leaves the prompt out.
        spellings: Language to word to its right spelling, wherever it stands.
        min_seconds: Shorter recordings are left out.
        max_seconds: Longer recordings are left out.
        dev: Share of the sentences in ``dev``, 0 to 1.
        test: The same for ``test``.
        seed: Seed of the split.
    """

    languages: tuple[str, ...] = tuple(DIALECTS)
    left_out: tuple[str, ...] = ()
    texts: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    spellings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    min_seconds: float = 1.0
    max_seconds: float = 30.0
    dev: float = 0.15
    test: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: A language is not among the packages, or a number cannot work.
        """
        for language in (*self.languages, *self.texts, *self.spellings):
            if language not in DIALECTS:
                raise ConfigError(f"there are no prompts for language {language!r}; accepted are {', '.join(DIALECTS)}")
        if not 0 <= self.min_seconds < self.max_seconds:
            raise ConfigError(
                "'min_seconds' must be 0 or more and below 'max_seconds', "
                f"found {self.min_seconds:g} and {self.max_seconds:g}"
            )
        check_shares(self.dev, self.test)


def import_asterisk(root: Path, options: AsteriskOptions) -> Iterator[Fragment]:
    """Stream the prompts of each language, fetching the packages that are not there yet.

    Nothing is installed and no rights are needed: apt-get downloads a package and dpkg-deb unpacks it under ``root``.

    Args:
        root: Folder of the unpacked packages.
        options: Languages, corrections, limits and shares.

    Yields:
        One fragment per usable prompt, in the order of the package's list. A sentence, and a longer part of one that
        several prompts share, stands on one side of the split only.

    Raises:
        AsrError: A package cannot be fetched or is not what was expected.
        ConfigError: The options correct a prompt that no list has.
    """
    for language in options.languages:
        yield from _import_language(root, language, options)


def _import_language(root: Path, language: str, options: AsteriskOptions) -> Iterator[Fragment]:
    dialect = DIALECTS[language]
    folder = _recordings(fetch(root, f"asterisk-core-sounds-{language}-g722"), language)
    listed = _read_list(fetch(root, f"asterisk-core-sounds-{language}"), language)
    corrected = options.texts.get(language, {})
    if unknown := sorted(corrected.keys() - listed.keys()):
        raise ConfigError(
            f"the option 'texts' corrects {unknown[0]!r}, which the list of the {language} prompts does not have; "
            "prompts are named as in that list, such as 'digits/7'"
        )
    counts: Counter[str] = Counter()
    said: dict[str, str] = {}
    for prompt, texts in listed.items():
        text, fault = _said(prompt, texts, corrected, options)
        if fault:
            counts[fault] += 1
        else:
            said[prompt] = _spell(text, options.spellings.get(language, {}))
    # Made from all prompts, so that other limits on the duration move no sentence to another side.
    sides = sentence_keys(said)
    for prompt, text in said.items():
        audio = folder / f"{prompt}.g722"
        duration = probe(audio).duration if audio.is_file() else 0.0
        if fault := _length_fault(duration, options):
            counts[fault] += 1
            continue
        counts["imported"] += 1
        custom: dict[str, JsonValue] = {"prompt": prompt}
        if listed[prompt] != [text]:
            custom["source_text"] = " / ".join(listed[prompt])
        yield Fragment(
            id=f"{dialect}/{prompt}",
            audio=str(audio),
            text=text,
            language=language,
            duration=duration,
            dialect=dialect,
            speaker=f"asterisk-{dialect}",
            gender=_GENDERS.get(folder.name.split("_")[2]),
            split=split_of(sides[prompt], options.seed, options.dev, options.test),
            licence=LICENCE,
            custom=custom,
        )
    there = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.g722")}
    counts["not in the list"] = len(there - listed.keys())
    log.info("asterisk, %s: %s", dialect, ", ".join(f"{number} {reason}" for reason, number in counts.most_common()))


def _said(
    prompt: str, texts: list[str], corrected: Mapping[str, str | None], options: AsteriskOptions
) -> tuple[str, str]:
    """Return what a prompt says, or why it is left out; the other is empty."""
    if any(fnmatchcase(prompt, pattern) for pattern in options.left_out):
        return "", "of a kind that is left out"
    if prompt in corrected:
        text = corrected[prompt]
        return (text, "") if text else ("", "not what is said")
    if len(texts) > 1:
        return "", "listed twice"
    if not texts[0]:
        return "", "without text"
    if re.search(r"[\[\]()<>]", texts[0]):
        return "", "described in brackets"
    return texts[0], ""


def _length_fault(duration: float, options: AsteriskOptions) -> str:
    """Return why a recording of so many seconds is left out (0: there is none), or nothing."""
    if not duration:
        return "without recording"
    if duration < options.min_seconds:
        return f"under {options.min_seconds:g} s"
    return f"over {options.max_seconds:g} s" if duration > options.max_seconds else ""


def sentence_keys(texts: Mapping[str, str]) -> dict[str, str]:
    """Group texts that share a sentence or a clause of four words or more; case, accents and punctuation are ignored.

    Returns:
        Name of a text to the key of its group.
    """
    leader: dict[str, str] = {}

    def lead(part: str) -> str:
        while leader.setdefault(part, part) != part:
            part = leader[part]
        return part

    for text in texts.values():
        whole = _plain(text)
        for clause in map(_plain, re.split(r"[.,;:!?…]", text)):
            if len(clause.split()) >= _CLAUSE:
                # The alphabet decides who leads, so that the order of the texts does not matter.
                first, second = sorted((lead(whole), lead(clause)))
                leader[second] = first
    return {name: lead(_plain(text)) for name, text in texts.items()}


def _plain(text: str) -> str:
    bare = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    return " ".join(re.findall(r"\w+", bare))


def _spell(text: str, spellings: Mapping[str, str]) -> str:
    """Replace whole words by their right spelling; a capital at the start stays one."""

    def spelt(match: re.Match[str]) -> str:
        word = match[0]
        right = spellings.get(word.lower(), word)
        return right[0].upper() + right[1:] if word[0].isupper() else right

    return re.sub(r"\w+", spelt, text)


def _read_list(package: Path, language: str) -> dict[str, list[str]]:
    """Read the list of a language: prompt to its texts, usually one; comments and blank lines are passed over.

    Raises:
        AsrError: The package has no list that can be read.
    """
    file = package / f"usr/share/doc/{package.name}/core-sounds-{language}.txt.gz"
    try:
        lines = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise AsrError(
            f"the list of prompts {file} cannot be read: {error}; delete the folder {package} and import again"
        ) from error
    listed: dict[str, list[str]] = {}
    for line in lines:
        prompt, colon, text = line.partition(":")
        if colon and not line.startswith(";"):
            # Prompts that another follows end in dots, those that follow begin with them; some are in quotation marks.
            text = re.sub(r"^[\s.…\"“”]+|(\s|\.\.\.|…|\"|“|”)+$", "", text)
            listed.setdefault(prompt, []).append(" ".join(text.split()))
    return listed


def _recordings(package: Path, language: str) -> Path:
    """Return the folder of the recordings, such as ``fr_CA_f_NAME``.

    Raises:
        AsrError: There is none, or more than one.
    """
    sounds = package / "usr/share/asterisk/sounds"
    folders = sorted(sounds.glob(f"{language}_??_*_*"))
    if len(folders) != 1:
        raise AsrError(
            f"{sounds} should have one folder of {language} recordings but has {len(folders)}; "
            f"delete the folder {package} and import again"
        )
    return folders[0]


def fetch(root: Path, package: str) -> Path:
    """Return the folder of an unpacked Debian package; without one, download and unpack it, all or nothing.

    Args:
        root: Where the unpacked packages lie, each in a folder of its name.
        package: Name of the package.

    Raises:
        AsrError: apt-get or dpkg-deb is missing or fails.
    """
    target = root / package
    if target.is_dir():
        return target
    by_hand = f"or unpack that package elsewhere (dpkg-deb -x FILE FOLDER) and copy the folder to {target}"
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise AsrError(
                f"{package} is not in {root}, and {program}, which would fetch it, is not installed; "
                f"import on Debian or Ubuntu, {by_hand}"
            )
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{package}.") as temporary:
        folder = Path(temporary)
        _run(["apt-get", "download", package], folder, f"run 'apt-get update' and check the network, {by_hand}")
        archive = next(folder.glob("*.deb"))
        _run(["dpkg-deb", "-x", archive.name, "unpacked"], folder, f"free some disk space and import again, {by_hand}")
        try:
            (folder / "unpacked").rename(target)
        except OSError:
            # Another import may have been quicker.
            if not target.is_dir():
                raise
    return target


def _run(command: list[str], folder: Path, remedy: str) -> None:
    """Run a program in a folder.

    Raises:
        AsrError: It failed; the message has the last line that it wrote.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise AsrError(f"'{' '.join(command)}' failed: {reason}; {remedy}")
