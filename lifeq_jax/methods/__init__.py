"""Continual-learning methods by name; every maker works without arguments."""

from collections.abc import Callable

from lifeq_jax.methods.base import Method
from lifeq_jax.methods.ewc import ewc
from lifeq_jax.methods.finetune import finetune
from lifeq_jax.methods.lifequant import lifequant
from lifeq_jax.methods.mas import mas
from lifeq_jax.methods.rwalk import rwalk
from lifeq_jax.methods.scp import scp
from lifeq_jax.methods.si import si

METHODS: dict[str, Callable[..., Method]] = {
    "ewc": ewc,
    "finetune": finetune,
    "lifequant": lifequant,
    "mas": mas,
    "rwalk": rwalk,
    "scp": scp,
    "si": si,
}
