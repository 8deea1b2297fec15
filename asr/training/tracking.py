"""A run's figures and its card in MLflow, beside the run's own log.

What is sent: the configuration, the figures that the log holds, and the card. No text, no audio path and no speaker is
among them. The card has the configuration as it is: the folders in it may name the user. A server that stops to answer
stops no training.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only
from pydantic import Field

from asr.errors import ConfigError, MissingExtraError
from asr.files import atomic_write
from asr.training.card import CARD, PAGE

log = logging.getLogger(__name__)

_FOLDER = "mlflow"
# In the run's folder: which run of MLflow this is.
RUN_ID = f"{_FOLDER}/run_id"
# Seconds without a try after one that failed: MLflow asks a server that is silent for minutes, and training waits.
_PAUSE = 600.0


@dataclass(frozen=True, slots=True)
class LoggerOptions:
    """Where figures go beside the run's own log.

    Attributes:
        kind: ``none`` or ``mlflow``.
        uri: MLflow's tracking URI, without a password; None keeps a local store in the run's folder.
        experiment: MLflow's name for runs that belong together.

    Raises:
        ConfigError: The URI holds a password.
    """

    kind: Literal["none", "mlflow"] = "none"
    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "dialect-asr"

    def __post_init__(self) -> None:
        if self.uri is not None and urlsplit(self.uri).password is not None:
            raise ConfigError(
                "logger.uri holds a password, and would be in the run's configuration and in every checkpoint; give it "
                "in MLFLOW_TRACKING_PASSWORD, or for a database in the file or variable that its driver reads"
            )


class MlflowRun(MLFlowLogger):
    """Logs to a run of MLflow; a run that goes on, goes on in the same one.

    What a kill took back is logged again, under the same steps, with the same figures.

    Args:
        folder: Of the run.
        options: Where to.
        params: What is told of the run once, by name.

    Raises:
        MissingExtraError: MLflow is not installed.
        ConfigError: The store cannot be used.
    """

    def __init__(self, folder: Path, options: LoggerOptions, params: Mapping[str, Any]) -> None:
        try:
            import alembic  # noqa: F401  # MLflow needs it for SQLite, and mlflow-skinny does not bring it
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError as error:
            raise MissingExtraError("logger=mlflow needs: pip install 'dialect-asr[tracking]'") from error
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        self._failures = (MlflowException, SQLAlchemyError, OSError)
        self._failed = False
        self._again = 0.0
        place = folder / _FOLDER
        uri, artifacts = options.uri, None
        if uri is None:
            # SQLite: in 3.17 a store of files is refused ("maintenance mode") unless an environment variable asks for
            # it, and so would be the page that shows it.
            place.mkdir(parents=True, exist_ok=True)
            uri, artifacts = f"sqlite:///{place.resolve() / 'mlflow.db'}", (place / "artifacts").resolve().as_uri()
        known = folder / RUN_ID
        try:
            client = MlflowClient(uri)
            if known.is_file():
                run_id = known.read_text("utf-8").strip()
                client.update_run(run_id, status="RUNNING")
            else:
                found = client.get_experiment_by_name(options.experiment)
                experiment = (
                    client.create_experiment(options.experiment, artifacts) if found is None else found.experiment_id
                )
                # Made here: MLFlowLogger would add the user's name and the script's path.
                run_id = client.create_run(experiment, run_name=folder.name).info.run_id
        except self._failures as error:
            raise ConfigError(
                f"logger.uri={options.uri or uri} cannot be used: {str(error).splitlines()[0]}; correct it, or train "
                "with logger=none"
            ) from error
        super().__init__(tracking_uri=uri, run_id=run_id)
        _ = self.experiment  # what was never asked for, MLFlowLogger ends without a word
        if not known.is_file():
            self.log_hyperparams(dict(params))
            with atomic_write(known) as handle:
                handle.write(f"{run_id}\n")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures; where that fails, say so once, go on, and try again after some minutes."""
        if time.monotonic() >= self._again:
            with self._tolerant():
                super().log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Note how the run ended, by the word that lightning or MLflow has for it."""
        with self._tolerant():
            super().finalize(status)

    def add_card(self, folder: Path) -> None:
        """Add the card of the run."""
        with self._tolerant():
            for name in (CARD, PAGE):
                self.experiment.log_artifact(self.run_id, str(folder / name))

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            if not self._failed:
                log.warning(
                    "MLflow cannot be written to, and lacks some of what follows: %s",
                    str(error).splitlines()[0],
                )
            self._failed = True
            self._again = time.monotonic() + _PAUSE
