"""Transcribe: python scripts/transcribe.py inputs=[fragments.jsonl] checkpoint=last.pt output=all.jsonl."""

import sys

import hydra
from omegaconf import DictConfig

from asr.entry import entry_point


@hydra.main(version_base="1.3", config_path="../configs", config_name="transcribe")
def main(config: DictConfig) -> None:
    """Hand every key to `asr transcribe`, whose flags have the same names."""
    with entry_point():
        from asr.cli import app
        from asr.config import TranscribeConfig, to_options

        app(to_options(config, TranscribeConfig).arguments(), prog_name="asr")


if __name__ == "__main__":
    if "engine=ray" in sys.argv:
        # The engine is what decodes; where it does so is the runner.
        print("engine=ray is taken as runner=ray", file=sys.stderr)
        sys.argv[sys.argv.index("engine=ray")] = "runner=ray"
    main()
