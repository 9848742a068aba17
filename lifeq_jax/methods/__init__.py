"""Continual-learning methods and oscillation controls by name.

Every maker of METHODS works without arguments, every maker of OSCILLATIONS with a table of quantizers alone."""

from collections.abc import Callable

from lifeq_jax.methods import oscillation
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.blip import blip
from lifeq_jax.methods.ewc import ewc
from lifeq_jax.methods.finetune import finetune
from lifeq_jax.methods.frozen import frozen
from lifeq_jax.methods.imm import imm
from lifeq_jax.methods.lifequant import lifequant
from lifeq_jax.methods.lwf import lwf
from lifeq_jax.methods.mas import mas
from lifeq_jax.methods.rwalk import rwalk
from lifeq_jax.methods.scp import scp
from lifeq_jax.methods.si import si

METHODS: dict[str, Callable[..., Method]] = {
    "blip": blip,
    "ewc": ewc,
    "finetune": finetune,
    "frozen": frozen,
    "imm": imm,
    "lifequant": lifequant,
    "lwf": lwf,
    "mas": mas,
    "rwalk": rwalk,
    "scp": scp,
    "si": si,
}

OSCILLATIONS: dict[str, Callable[..., Method]] = {
    "dampen": oscillation.dampen,
    "freeze": oscillation.freeze,
    "none": oscillation.none,
    "track": oscillation.track,
}
