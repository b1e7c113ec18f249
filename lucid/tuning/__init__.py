"""Which formulation is the fastest here, measured: `lucid.autotune`."""

from lucid.tuning.store import get_autotune_state, set_autotune_state
from lucid.tuning.switch import autotune, enabled

__all__ = ["autotune", "enabled", "get_autotune_state", "set_autotune_state"]
