"""ELAN files as ELAN writes them, and as somebody writes them who means harm."""

from pathlib import Path

import pytest

from asr.errors import ManifestError
from asr.fragment import Fragment
from asr.importers import beside
from asr.importers.elan import import_elan
from asr.importers.fields import FieldSource
from asr.importers.tiers import TierOptions

OPTIONS = TierOptions(constants={"language": "fr"})

# Layout of ELAN 6 (EAF 3.0): http://www.mpi.nl/tools/elan/EAFv3.0.xsd
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T10:00:00+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/Users/x/inter%20view.wav" MIME_TYPE="audio/x-wav"
        RELATIVE_MEDIA_URL="./inter%20view.wav"/>
    <PROPERTY NAME="lastUsedAnnotationId">4</PROPERTY>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1750"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="2000"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="3000"/>
    <TIME_SLOT TIME_SLOT_ID="ts5"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="ref" PARENT_REF="A" TIER_ID="A-fr">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a9" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>Ça fait soixante-dix.</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="utterance" PARTICIPANT="s01" TIER_ID="A">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>Ça fait
        septante &amp; des.</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="utterance" TIER_ID="B">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>oui</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


def put(root: Path, name: str, text: str | bytes) -> None:
    root.mkdir(exist_ok=True)
    (root / f"{name}.eaf").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_file_of_elan(tmp_path: Path) -> None:
    put(tmp_path, "a", EAF)
    audio = tmp_path / "inter view.wav"
    audio.write_bytes(b"")
    (tmp_path / "a.wav").write_bytes(b"")
    options = TierOptions(
        constants={"language": "fr"}, labels={"text_standard": FieldSource("{tier}-fr")}, tiers={"B": "s02"}
    )
    assert list(import_elan(tmp_path, options)) == [
        Fragment(id="a/t2-00000500", audio=str(audio), text="Ça fait septante & des.", language="fr", start=0.5,
                 duration=1.25, speaker="s01", text_standard="Ça fait soixante-dix."),
        Fragment(id="a/t3-00002000", audio=str(audio), text="oui", language="fr", start=2.0, duration=1.0,
                 speaker="s02"),
    ]  # fmt: skip


def test_a_dependent_tier_is_kept_beside(tmp_path: Path) -> None:
    put(tmp_path, "a", EAF)
    (tmp_path / "a.wav").write_bytes(b"")
    first, _ = import_elan(tmp_path, OPTIONS)
    assert isinstance(first, Fragment)
    assert first.custom == {"tiers": {"A-fr": "Ça fait soixante-dix."}}


def test_an_annotation_without_a_time_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    broken = EAF.replace('ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1"', 'ANNOTATION_ID="a1" TIME_SLOT_REF1="ts5"')
    put(tmp_path, "a", broken)
    found = list(import_elan(tmp_path, OPTIONS))
    assert [str(item) for item in found if isinstance(item, ManifestError)] == [
        f"annotation 1 of tier {tier} has no time; align it in ELAN, or delete it ({tmp_path}/a.eaf)" for tier in (1, 2)
    ]
    assert [item.text for item in found if isinstance(item, Fragment)] == ["oui"]


def test_annotations_that_hang_on_each_other_in_a_ring_end(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    put(tmp_path, "a", EAF.replace('ANNOTATION_REF="a1"', 'ANNOTATION_REF="a9"'))
    found = list(import_elan(tmp_path, OPTIONS))
    assert "annotation 1 of tier 1 has no time" in str(found[0])
    assert len(found) == 3


SECRET = "the secret of another file"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
ATTACKS = {
    "billion-laughs": f'<!DOCTYPE d [<!ENTITY l0 "ha">{LAUGHS}]>',
    "external": '<!DOCTYPE d [<!ENTITY x SYSTEM "file://SECRET">]>',
    "parameter": '<!DOCTYPE d [<!ENTITY % x SYSTEM "file://SECRET"> %x;]>',
    "dtd": '<!DOCTYPE d SYSTEM "http://192.0.2.1/x.dtd">',
    "quadratic": f'<!DOCTYPE d [<!ENTITY x "{"a" * 10_000}">]>',
}


def test_attacks_are_refused_and_the_next_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    root = tmp_path / "corpus"
    for name, attack in ATTACKS.items():
        entity = (
            "&l9;" if "laughs" in name else "&x;" * 1000 if name == "quadratic" else "&x;" if "SECRET" in attack else ""
        )
        entity = "" if name == "parameter" else entity
        head, _, rest = EAF.partition("<ANNOTATION_DOCUMENT")
        text = head + attack.replace("SECRET", str(secret)) + "<ANNOTATION_DOCUMENT" + rest.replace("oui", entity)
        put(root, name, text)
        (root / f"{name}.wav").write_bytes(b"")
    put(root, "z", EAF)
    (root / "z.wav").write_bytes(b"")
    found = list(import_elan(root, OPTIONS))
    faults = {item.path.stem: str(item) for item in found if isinstance(item, ManifestError) and item.path}
    assert faults.keys() == ATTACKS.keys()
    assert all("declares entities or a document type" in fault for fault in faults.values())
    assert [item.id for item in found if isinstance(item, Fragment)] == ["z/t2-00000500", "z/t3-00002000"]
    assert SECRET not in str(found)


def test_bad_files_are_named_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MAX_BYTES", 1 << 20)
    bad: dict[str, str | bytes] = {
        "cut": EAF[: len(EAF) // 2],
        "other": "<html><body/></html>",
        "empty": "",
        "zip": b"PK\x03\x04" + bytes(50),
        "time": EAF.replace('TIME_VALUE="500"', 'TIME_VALUE="soon"'),
        "encoding": EAF.replace("UTF-8", "ebcdic-xyz"),
        "huge": EAF + "\n" * (1 << 20),
        "climbs": EAF.replace("./inter%20view.wav", "../../outside.wav").replace("inter%20view.wav", "n.wav"),
    }
    root = tmp_path / "a/b"
    root.mkdir(parents=True)
    (tmp_path / "outside.wav").write_bytes(b"")
    for name, data in bad.items():
        put(root, name, data)
        if name != "climbs":
            (root / f"{name}.wav").write_bytes(b"")
    found = list(import_elan(root, OPTIONS))
    assert all(isinstance(item, ManifestError) for item in found)
    faults = {item.path.stem: str(item) for item in found if isinstance(item, ManifestError) and item.path}
    assert faults.keys() == bad.keys()
    assert f"cut.eaf:{len(EAF[: len(EAF) // 2].splitlines())}" in faults["cut"]
    assert "no ELAN annotation document" in faults["other"]
    assert "lies outside the corpus" in faults["climbs"]
