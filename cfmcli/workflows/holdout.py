"""Holdout: times excluded from training."""

from collections.abc import Sequence

from cfmcli.data.snapshots import Cloud
from cfmcli.errors import ConfigError


def held_out(holdout: Sequence[str], clouds: Sequence[Cloud]) -> set[str]:
    """Labels of the clouds that --holdout names, all of them between kept ones.

    Args:
        holdout: labels or clock times.
        clouds: all clouds, in time order.

    Raises:
        ConfigError: if one does not exist, or is the first or the last.
    """
    held: set[str] = set()
    for text in holdout:
        found = [cloud.label for cloud in clouds if text == cloud.label or _same(text, cloud.time)]
        if not found:
            listed = ", ".join(cloud.label for cloud in clouds)
            raise ConfigError(f"--holdout {text}: there is no such time. The data have {listed}.")
        held |= set(found)
    kept = [cloud.label not in held for cloud in clouds]
    if held and not (kept[0] and kept[-1]):
        between = ", ".join(cloud.label for cloud in clouds[1:-1])
        remedy = f"Hold out one of {between}." if between else "It takes three times or more."
        raise ConfigError(
            "--holdout names the first or the last time: nothing would be learnt on one side of "
            f"it. {remedy}"
        )
    return held


def _same(text: str, time: float) -> bool:
    """Whether a text equals a number."""
    try:
        return float(text) == time
    except ValueError:
        return False
