"""The adapter file: what low-rank training changed of a base, without the base.

One safetensors file in half precision. Its header says which base it belongs to, by the hash of that model's weights,
and all that its checkpoint says of itself; its tensors are two matrices for each layer, see `asr.model.mixture`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from asr.errors import CheckpointError
from asr.files import atomic_write
from asr.model.info import Checkpoint, CheckpointInfo, info_of, read_info
from asr.model.mixture import LowRank
from asr.model.network import DialectWhisper, describe_window
from asr.weights.state import weights_sha256

SUFFIX = ".safetensors"
_DOWN, _UP = ".down", ".up"
# A weight in half precision is off by half its last place, 2^-11 of it at most; interpolated ones were rounded twice.
_ROUNDING = 2.0 * 2.0**-11


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights of one base.

    Attributes:
        updates: By the name of the linear layer in `whisper.model.Whisper`; in half precision.
        base: SHA-256 of the base's weights (`asr.weights.state.weights_sha256`).
        info: What the checkpoint that it was taken out of says about itself.
    """

    updates: dict[str, LowRank]
    base: str
    info: CheckpointInfo

    def by_layer(self, model: DialectWhisper) -> dict[nn.Module, LowRank]:
        """The updates by the layers of a model, on its device."""
        device = model.device
        return {
            model.whisper.get_submodule(name): LowRank(update.down.to(device), update.up.to(device))
            for name, update in self.updates.items()
        }

    @property
    def changes_encoder(self) -> bool:
        """Whether it changes what is heard, not only what is written of it."""
        return any(name.startswith("encoder.") for name in self.updates)


@torch.no_grad()
def take_out(base: Checkpoint, adapted: Checkpoint) -> Adapter:
    """Take the adapter out of what low-rank training made of a base: the difference of their weights, as two matrices.

    It is exact up to the rounding of the weights, also where the checkpoint was interpolated with its base since. Heads
    are no part of it: those of the base hear the base.

    Args:
        base: That the training started from.
        adapted: What came of it (``adapter=lora``).

    Raises:
        CheckpointError: The checkpoint did not come of low-rank training, or not from this base.
    """
    rank = _rank(adapted.info)
    before, after = base.model.whisper, adapted.model.whisper
    if before.dims != after.dims or base.model.window_described != adapted.model.window_described:
        raise _foreign()
    start = dict(before.named_parameters())
    linear = {f"{name}.weight": name for name, layer in before.named_modules() if isinstance(layer, nn.Linear)}
    updates = {}
    for name, weight in after.named_parameters():
        change = (weight - start[name].to(weight)).float()
        if not change.any():
            continue
        if name not in linear:
            raise _foreign()
        left, values, right = torch.linalg.svd(change, full_matrices=False)
        if values[rank:].norm() > _ROUNDING * weight.norm():
            raise _foreign()
        root = values[:rank].sqrt()
        updates[linear[name]] = LowRank((right[:rank].T * root).half(), (root[:, None] * left[:, :rank].T).half())
    if not updates:
        raise CheckpointError("there is no adapter to take out: the two models have the same weights")
    return Adapter(updates, weights_sha256(base.model.whisper), adapted.info)


def _foreign() -> CheckpointError:
    return CheckpointError(
        "the adapted model does not come of this base: they differ in more than low-rank training changes; give the "
        "base that the training started from (model.name= of its run)"
    )


def _rank(info: CheckpointInfo) -> int:
    config = info.training_config.get("adapter")
    if not isinstance(config, dict) or config.get("mode") != "lora":
        mode = f"adapter={config['mode']}" if isinstance(config, dict) and "mode" in config else "no adapter"
        raise CheckpointError(
            f"the adapted model was trained with {mode}, which changes more than an adapter holds; train it with "
            "adapter=lora"
        )
    return int(config["lora"]["rank"])


def write_adapter(adapter: Adapter, model: DialectWhisper, path: str | Path) -> None:
    """Write an adapter, atomically.

    Args:
        adapter: The adapter.
        model: That it was taken out of.
        path: The file, by custom named by its dialect: ``fr-CA.safetensors``.
    """
    tensors = {}
    for name, update in adapter.updates.items():
        tensors[name + _DOWN], tensors[name + _UP] = (tensor.cpu().contiguous() for tensor in (update.down, update.up))
    header = {"base_sha256": adapter.base, "info": json.dumps(info_of(model, adapter.info, path))}
    with atomic_write(path, "wb") as handle:
        handle.write(save(tensors, header))


def read_adapter(path: str | Path, model: DialectWhisper, base: str) -> Adapter:
    """Read an adapter for a model.

    Args:
        path: The file.
        model: The base.
        base: SHA-256 of the base's weights (`asr.weights.state.weights_sha256`).

    Raises:
        CheckpointError: The file is missing, damaged, of a newer format, no adapter, or that of another base.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no adapter {path}; asr adapter takes one out of a checkpoint")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise CheckpointError(f"the adapter {path} cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or no adapter ({str(error).splitlines()[0]}); take it out again with asr adapter"
        ) from None
    if "base_sha256" not in header:
        raise CheckpointError(f"{path} is no adapter; asr adapter takes one out of a checkpoint")
    try:
        info = read_info(json.loads(header["info"]), path)
    except (KeyError, ValueError):
        raise CheckpointError(f"{path} is damaged: its header is; take it out again with asr adapter") from None
    window = describe_window(info.window, info.tail)
    if header["base_sha256"] != base or window != model.window_described:
        raise CheckpointError(
            f"the adapter {path} belongs to another base: it was trained on {_started(info)}, {window}, whose "
            f"weights have the SHA-256 {header['base_sha256'][:12]}…, and those of this model, "
            f"{model.window_described}, have {base[:12]}…; load the checkpoint that its training started from"
        )
    return Adapter(_updates(tensors, model, path), base, info)


def _updates(tensors: dict[str, Tensor], model: DialectWhisper, path: Path) -> dict[str, LowRank]:
    linear = {name: layer for name, layer in model.whisper.named_modules() if isinstance(layer, nn.Linear)}
    updates = {
        name.removesuffix(_DOWN): LowRank(tensor, tensors[name.removesuffix(_DOWN) + _UP])
        for name, tensor in tensors.items()
        if name.endswith(_DOWN) and name.removesuffix(_DOWN) + _UP in tensors
    }
    for name, update in updates.items():
        layer = linear.get(name)
        if layer is None or (update.down.shape[0], *update.up.shape) != (
            layer.in_features,
            update.rank,
            layer.out_features,
        ):
            break
        # Nothing times that would be no number either, in fragments of other dialects too.
        if not (update.down.isfinite().all() and update.up.isfinite().all()):
            break
    else:
        if updates and 2 * len(updates) == len(tensors):
            return updates
    raise CheckpointError(f"{path} is damaged: its matrices do not fit its base; take it out again with asr adapter")


def _started(info: CheckpointInfo) -> str:
    config = info.training_config.get("model")
    return Path(str(config["name"])).name if isinstance(config, dict) and "name" in config else info.base_model
