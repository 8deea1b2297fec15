"""Train an intent model: python scripts/train_intent.py train=train.jsonl output=models/intent.safetensors."""

import hydra
from omegaconf import DictConfig

from asr.entry import entry_point


@hydra.main(version_base="1.3", config_path="../configs", config_name="train_intent")
def main(config: DictConfig) -> None:
    """Compose, check, build, run."""
    with entry_point():
        from asr.build import run_intent_training
        from asr.config import TrainIntentConfig, to_options

        run_intent_training(to_options(config, TrainIntentConfig))


if __name__ == "__main__":
    main()
