"""Evaluate: python scripts/evaluate.py checkpoint=last.pt baseline=base +test.accented=dev.jsonl output=report.json."""

import hydra
from omegaconf import DictConfig

from asr.entry import entry_point


@hydra.main(version_base="1.3", config_path="../configs", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Compose, check, build, run."""
    with entry_point():
        from asr.build import run_evaluation
        from asr.config import EvaluateConfig, to_options

        run_evaluation(to_options(config, EvaluateConfig))


if __name__ == "__main__":
    main()
