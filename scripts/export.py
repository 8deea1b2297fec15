"""Export: python scripts/export.py checkpoint=last.pt to=ctranslate2 output=exports/mine check=dev.jsonl."""

import hydra
from omegaconf import DictConfig

from asr.entry import entry_point


@hydra.main(version_base="1.3", config_path="../configs", config_name="export")
def main(config: DictConfig) -> None:
    """Hand every key to `asr export`, whose flags have the same names."""
    with entry_point():
        from asr.cli import app
        from asr.config import ExportConfig, to_options

        app(to_options(config, ExportConfig).arguments(), prog_name="asr")


if __name__ == "__main__":
    main()
