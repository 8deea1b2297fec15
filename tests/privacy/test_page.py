from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from asr.privacy.page import Page, Section, Table, to_html, to_markdown

# What people write, and what they should not.
NASTY = st.text(st.sampled_from("ab 1.)-+#|<>&\\`*_[]()!~:/\"'=$\n\t{}é€"), max_size=30)
TEXTS = st.one_of(
    NASTY, st.sampled_from(["<script>alert(1)</script>", "$title", "www.example.org", "https://a.b", "1. x"])
)


class Reader(HTMLParser):
    """The words of a page by where they stand, and the tags that are on it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.paragraphs: list[str] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("th", "td", "caption", "h1", "h2", "p"):
            self.inside.append(tag)
            (self.paragraphs if tag == "p" else self.cells).append("")

    def handle_endtag(self, tag: str) -> None:
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if self.inside:
            (self.paragraphs if self.inside[-1] == "p" else self.cells)[-1] += data


def line(text: str) -> str:
    return " ".join(text.split())


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_both_forms_say_the_same_and_only_that(title: str, words: str, cell: str, other: str) -> None:
    table = Table("Table", ("one", other or "x"), ((cell or "x", words), ("second", cell)))
    page = Page("Title", (words or "x",), (Section(title or "x", (cell or "x",), table),))
    html = Reader(to_html(page))
    # HTML in Markdown is switched on, so that a tag that is let through would be one.
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(to_markdown(page))
    marked = Reader(rendered)
    allowed = {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert {tag for tag, _ in marked.tags} <= allowed
    cells = [line(found) for found in html.cells if found != "Table"]
    assert (
        [line(found) for found in marked.cells]
        == cells
        == ["Title", line(title or "x")]
        + [line(each) for each in ("one", other or "x", cell or "x", words, "second", cell)]
    )
    wanted = [line(words or "x"), line(cell or "x")]
    assert [line(found) for found in html.paragraphs] == wanted
    assert [found for each in marked.paragraphs if (found := line(each)) not in ("Table:", "")] == [
        w for w in wanted if w
    ]


def test_the_page_can_be_read_by_everybody() -> None:
    table = Table("What", ("a", "b"), (("1", "2"),))
    html = to_html(Page("Title", ("Words.",), (Section("Part", ("More.",), table), Section("Empty", (), None))))
    tags = Reader(html).tags
    assert html.startswith("<!DOCTYPE html>")
    assert dict(tags)["html"] == {"lang": "en"}
    assert [found["scope"] for tag, found in tags if tag == "th"] == ["col", "col", "row"]
    names = [found["id"] for tag, found in tags if tag == "h2"]
    assert [found["href"] for tag, found in tags if tag == "a"] == [f"#{name}" for name in names]
    assert sum(tag == "h1" for tag, _ in tags) == 1 and sum(tag == "main" for tag, _ in tags) == 1
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in tags}
    assert "http" not in html.replace("http-equiv", "")


def contrast(first: str, second: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_colours_can_be_told_apart() -> None:
    html = to_html(Page("Title", (), ()))
    for scheme in html.split("--ink:")[1:]:
        colours = dict(
            part.strip().removeprefix("--").split(": ")
            for part in ("ink:" + scheme.split("}")[0]).split(";")
            if "#" in part
        )
        for ink in ("ink", "soft", "link"):
            for paper in ("paper", "tint"):
                assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
