"""The layers, read from the imports of the code itself, those inside functions and for type checkers included."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "asr"

# A module imports from the rows above it, from its own folder, and from what stands left of it in its own row.
ROWS = (
    (
        "errors",
        "files",
        "sums",
        "memory",
        "addresses",
        "lines",
        "jsonlines",
        "tables",
        "options",
        "fragment",
        "transcript",
        "text",
    ),
    (
        "audio",
        "writers",
        "metrics",
        "corpus",
        "expressions",
        "importers",
        "exporters",
        "prosody",
        "privacy",
        "annotation",
        "intent",
    ),
    ("weights", "pictures", "model"),
    ("data", "inference", "export"),
    ("archive", "training", "evaluation"),
    ("config", "build"),
    ("entry", "server", "cli", "__main__"),
)
PLACES = {name: (row, place) for row, names in enumerate(ROWS) for place, name in enumerate(names)}
# Rows 1 and 2 work where there is no torch; the command line must answer --help without it.
HEAVY = {
    "torch",
    "torchaudio",
    "whisper",
    "lightning",
    "lhotse",
    "peft",
    "transformers",
    "ctranslate2",
    "ray",
    "pyarrow",
}
WITHOUT_TORCH = {*ROWS[0], *ROWS[1], "archive", "cli", "entry", "__main__", "asr"}


def modules(package: Path) -> dict[str, Path]:
    """Return every module of a package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: set[str]) -> Iterator[tuple[str, int]]:
    """Yield (module of the package, line) for every import in a module."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            targets = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            # "from asr.fragment import Fragment" means the module asr.fragment.
            target = target if target in known else target.rpartition(".")[0]
            if target in known:
                yield target, node.lineno


def layer(name: str) -> str:
    """Return the folder or module right under the package; the package itself has its own name."""
    return ".".join(name.split(".")[1:2]) or name


def breaches(package: Path) -> list[str]:
    """Return every import that goes down the rows, as a sentence."""
    found = []
    known = modules(package)
    for name, path in known.items():
        own = layer(name)
        if own == package.name:  # the front door, which names modules of every row and loads them when asked
            continue
        if own not in PLACES:
            found.append(f"{name} is in no row; put {own!r} into the table")
            continue
        for target, line in imports(name, path, set(known)):
            other = layer(target)
            if other != own and PLACES.get(other, (99, 0)) > PLACES[own]:
                found.append(f"{name}:{line} imports {target}, which is not above it")
    return found


def graph(package: Path) -> dict[str, set[str]]:
    known = modules(package)
    return {
        name: {target for target, _ in imports(name, path, set(known))} - {name}
        for name, path in known.items()
        if name != package.name
    }


def test_modules_import_only_from_rows_above() -> None:
    assert breaches(PACKAGE) == []


def test_there_are_no_cycles() -> None:
    TopologicalSorter(graph(PACKAGE)).prepare()


def test_lower_rows_load_no_torch() -> None:
    found = []
    for name, path in modules(PACKAGE).items():
        if layer(name) in WITHOUT_TORCH:
            for node in ast.parse(path.read_text("utf-8")).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [f"{name} imports {heavy}" for heavy in names if heavy.split(".")[0] in HEAVY]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import asr.model.network",
        "from asr.model import network",
        "from asr.model.network import Net",
        "def f():\n    from asr.model.network import Net",
        "if TYPE_CHECKING:\n    from asr.cli import main",
        "from .model import network",
        "from asr.corpus.stats import count",
    ],
)
def test_the_test_sees_breaches(tmp_path: Path, line: str) -> None:
    tree = {"audio": line, "model/network": "import asr.audio", "cli/__init__": "", "corpus/stats": "import asr.audio"}
    for name, text in {"__init__": "import asr.cli", **tree}.items():
        path = tmp_path / "asr" / f"{name}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    assert len(breaches(tmp_path / "asr")) == 1
    if "cli" not in line:
        with pytest.raises(CycleError):
            TopologicalSorter(graph(tmp_path / "asr")).prepare()
