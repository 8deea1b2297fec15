"""A table that holds what the lines hold."""

import json
from pathlib import Path

from asr.archive.blocks import cut
from asr.archive.parquet import parquet_schema, write_parquet
from asr.archive.work import Settings, Worker
from asr.fragment import read_numbered
from asr.transcript import Transcript


def test_a_table_holds_what_the_lines_hold(archive: Path, settings: Settings, tmp_path: Path) -> None:
    from pyarrow.parquet import read_table

    (block,) = cut((source for _, source in read_numbered(archive)), 1000, 0, 1)
    made = dict(Worker(settings).lines(block[:9], [None] * 9))
    (tmp_path / "x.jsonl").write_bytes(b"".join(made[place] or b"" for place in range(9)))
    write_parquet(tmp_path / "x.jsonl", tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    lines = [json.loads(text) for text in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    for row, line in zip(table.to_pylist(maps_as_pydicts="strict"), lines, strict=True):
        for key, value in line.items():
            assert row[key] == value
        assert (row["error"] is None) == ("error" not in line)


def test_no_key_of_a_transcript_is_without_its_column() -> None:
    keys = Transcript("", "", "fr", None, 1.0, ()).to_dict().keys()
    assert keys <= set(parquet_schema().names)
