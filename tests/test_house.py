"""Rules of the house that no linter knows."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_module_has_its_test() -> None:
    missing = []
    for path in sorted((ROOT / "asr").rglob("*.py")):
        if path.stem not in ("__init__", "__main__"):
            test = ROOT / "tests" / path.relative_to(ROOT / "asr").with_name(f"test_{path.name}")
            if not test.is_file():
                missing.append(str(test.relative_to(ROOT)))
    assert missing == []


def test_every_test_has_its_module() -> None:
    # A test of the whole (this one, say) stands directly under tests/.
    stray = []
    for path in sorted((ROOT / "tests").glob("*/**/test_*.py")):
        module = ROOT / "asr" / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
        package = module.with_suffix("") / "__init__.py"
        if module.parent.is_dir() and not (module.is_file() or package.is_file()):
            stray.append(str(path.relative_to(ROOT)))
    assert stray == []


def test_datasets_is_no_package() -> None:
    # A library of that name exists on PyPI and must win.
    assert not list((ROOT / "datasets").rglob("*.py"))
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_yaml_names_code() -> None:
    files = [*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "datasets").rglob("*.yaml")]
    assert [str(path) for path in files if "_target_" in path.read_text("utf-8")] == []
