from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.privacy.timed import Counts, strip_cues, strip_eaf, strip_textgrid
from asr.privacy.traces import Names, Traces

NAMES = Names(Traces(("s01",), texts=("je prends le tram",)))
NOBODY = Names(Traces(("nobody",)))


def test_cues_go_by_their_time_or_their_words(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(
        "WEBVTT\n\n1\n00:00.000 --> 00:01.000\none\n\n00:01.000 --> 00:02.500\ntwo\nlines\n\n"
        "01:00:01.000 --> 01:00:02.000\n<v s01>three\n\n00:05.000 --> 00:06.000\nje prends le tram\n"
    )
    counts = Counts()
    kept = b"".join(strip_cues(path, ((1.0, 2.0),), NAMES, counts)).decode()
    # The first one ends where they begin.
    assert kept == "WEBVTT\n\n1\n00:00.000 --> 00:01.000\none\n\n"
    assert (counts.gone, counts.kept, counts.empty) == (3, 1, False)


def grid(*labels: tuple[float, float, str]) -> str:
    return (
        'File type = "ooTextFile"\nxmin = 0\nxmax = 9\nitem [1]:\n name = "s01"\n'
        + "".join(
            f'  intervals [1]:\n    xmin = {start}\n    xmax = {end}\n    text = "{text}"\n'
            for start, end, text in labels
        )
        + '  points [1]:\n    number = 1.5\n    mark = "H*"\n  points [2]:\n    number = 5\n    mark = "L%"\n'
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_labels_of_a_textgrid_are_emptied_and_it_stays_one(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(grid((0, 1, "one"), (1, 2, 'say ""é""'), (2, 3, "in s01 here"), (3, 9, "")), encoding=encoding)
    counts = Counts()
    stripped = b"".join(strip_textgrid(path, ((1.0, 2.0),), NAMES, counts)).decode(encoding)
    expected = grid((0, 1, "one"), (1, 2, ""), (2, 3, ""), (3, 9, "")).replace('"s01"', '"erased"').replace("H*", "")
    assert stripped == expected
    assert (counts.gone, counts.kept) == (3, 2)
    # Nothing of theirs, nothing changed.
    counts = Counts()
    assert b"".join(strip_textgrid(path, (), NOBODY, counts)).decode(encoding) == path.read_text(encoding=encoding)
    assert not counts.touched


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="s01"><HEADER MEDIA_FILE=""/><TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="1000"/>
<TIME_SLOT TIME_SLOT_ID="t3" TIME_VALUE="2000"/></TIME_ORDER>
<TIER TIER_ID="s01" PARTICIPANT="s01"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t2"
 TIME_SLOT_REF2="t3"><ANNOTATION_VALUE>mine</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="gloss" PARENT_REF="s01"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>of mine</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="other"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2">
<ANNOTATION_VALUE>theirs</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>
"""


@pytest.mark.parametrize("spans", [(), ((1.2, 1.8),)])
def test_tiers_of_an_elan_file_are_emptied_and_it_stays_one(tmp_path: Path, spans: tuple[tuple[float, float]]) -> None:
    path = tmp_path / "a.eaf"
    path.write_text(EAF)
    counts = Counts()
    stripped = b"".join(strip_eaf(path, spans, NAMES, counts)).decode()
    assert "s01" not in stripped and "mine" not in stripped and ">theirs<" in stripped
    assert 'PARENT_REF="erased"' in stripped and 'TIER_ID="erased"' in stripped
    assert (counts.gone, counts.kept) == (2, 1)


def test_what_is_no_annotation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    for content in ('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "<x", ""):
        path.write_text(content)
        with pytest.raises(ManifestError, match=r"entities|damaged"):
            list(strip_eaf(path, (), NAMES, Counts()))
    path = tmp_path / "a.TextGrid"
    path.write_text('File type = "ooTextFile"\n0\n1\n<exists>\n')
    with pytest.raises(ManifestError, match="long text form"):
        list(strip_textgrid(path, (), NAMES, Counts()))
    path.write_bytes(b"x" * (64 * 2**20 + 1))
    with pytest.raises(ManifestError, match="larger than"):
        list(strip_textgrid(path, (), NAMES, Counts()))
