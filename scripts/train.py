"""Fine-tune: python scripts/train.py experiment=dialect data.train=train.jsonl data.dev=dev.jsonl model=base."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from asr.entry import entry_point


@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
def main(config: DictConfig) -> None:
    """Compose, check, build, run."""
    with entry_point():
        from asr.build import run_training
        from asr.config import TrainConfig, saved_config, to_options

        if config.resume is None:
            run_training(to_options(config, TrainConfig))
        else:
            run_training(saved_config(config, HydraConfig.get().overrides.task))


if __name__ == "__main__":
    main()
