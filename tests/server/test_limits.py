import pytest

from asr.errors import ConfigError
from asr.server.limits import Limits


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["upload_mb", "queue", "live"])
def test_a_limit_is_above_0(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a number above 0, found"):
        Limits(**{name: value})
