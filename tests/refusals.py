"""How a refused call is tested."""

import pytest

from lifeq_jax.core.refusal import Refusal


def refused(call, *args, **kwargs) -> str:
    """The line with which `call` is refused."""
    with pytest.raises(Refusal) as refusal:
        call(*args, **kwargs)
    return str(refusal.value)
