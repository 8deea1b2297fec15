"""Fine-tune: python scripts/train.py experiment=dialect data.train=train.jsonl data.dev=dev.jsonl model=base."""

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from asr.entry import entry_point
from asr.memory import take_large_pages


@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
def main(config: DictConfig) -> float | None:
    """Compose, check, build, run; return the monitored figure, of which a search looks for the lowest."""
    with entry_point():
        take_large_pages()
        from asr.build import reached, run_training, run_trial
        from asr.config import TrainConfig, of_multirun, saved_config, to_options

        now = HydraConfig.get()
        options = to_options(config, TrainConfig) if config.resume is None else saved_config(config, now.overrides.task)
        if now.mode is RunMode.MULTIRUN:
            search = now.runtime.choices["hydra/sweeper"] != "basic"
            options = of_multirun(options, now.job.num, search)
            if search:
                return run_trial(options)
        run_training(options)
        return reached(options)


if __name__ == "__main__":
    main()
