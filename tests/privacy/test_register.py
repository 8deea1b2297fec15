import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from asr.privacy.holdings import Figure, count_held, read_card
from asr.privacy.page import to_html, to_markdown
from asr.privacy.register import make_register

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=timezone.utc)


def test_the_page_says_what_is_known_and_what_is_not(
    consents: Path, card_text: str, tmp_path: Path, file_record: Any
) -> None:
    (tmp_path / "README.md").write_text(card_text)
    # What came of an action is counted with it, and is no action of its own.
    file_record.append("annotate", why="transcripts", manifests=["a" * 64], details={"stage": "begin"})
    file_record.append("annotate", why="transcripts", manifests=["b" * 64], details={"stage": "end", "begun": 1})
    file_record.append("erase", why="a wish", details={"fragments": 3, "models": [{}], "recordings_removed": 2})
    figures = [Figure(name="recall", value=0.93, command="python scripts/x.py --seed 0", interval=(0.9, 0.96), n=240)]
    held, broken = count_held([consents], NOW.date())
    card = read_card(tmp_path)
    page = make_register(
        file_record.entries(), [card], held, figures, now=NOW, controller="A lab", chain="It holds.", broken=broken
    )
    text = to_markdown(page)
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line.startswith("|")
    }
    assert ("tester", "annotate", "1", "1", "2026-01-02", "2026-01-02") in rows
    assert ("2026-01-02", "annotate", "1", "tester", "transcripts", "train.jsonl", "2") in rows
    assert ("2026-01-02", "erase", "1", "tester", "a wish", "", "0") in rows
    assert ("recall", "0.93", "0.9 to 0.96", "240", "python scripts/x.py --seed 0") in rows
    assert ("hello", "not stated", "2026-01-01 to 2029-01-01", "1", "1", "2") in rows
    assert "3 fragments, 2 recordings removed, ? silenced in part; trained on them: 1 model files" in text
    assert "A lab" in text and "It holds." in text and "1 lines of the manifests cannot be read" in text
    # Nobody is named.
    assert "speaker-0" not in text and "speaker-0" not in to_html(page)


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    text = to_markdown(make_register([], [], {}, now=NOW))
    assert "not stated" in text and "The record is empty." in text and "Nobody by the record." in text
    assert text.count("\n## ") == 9


def test_what_others_wrote_is_shown_and_not_run(tmp_path: Path, card_text: str, file_record: Any) -> None:
    (tmp_path / "README.md").write_text(card_text)
    file_record.append("listen", why="<script>alert(2)</script>", manifests=[])
    figure = Figure(name="<img src=x onerror=alert(3)>", value="<b>", command="`x` | <script>")
    page = make_register(file_record.entries(), [read_card(tmp_path)], {}, [figure], now=NOW, controller="<i>me</i>")
    html = to_html(page)
    assert not re.search(r"<(script|img|i|b)[ >]", html)
    for number in (1, 2):
        assert f"&lt;script&gt;alert({number})&lt;/script&gt;" in html
