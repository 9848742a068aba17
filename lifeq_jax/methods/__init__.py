"""Continual-learning methods, distillations and oscillation controls by name.

Makers of METHODS take keyword arguments that all have defaults, makers of DISTILLATIONS also the float network as a
function, makers of OSCILLATIONS a table of quantizers. A maker returns a `Method`, and refuses an argument that is out
of range or not one of its choices."""

from collections.abc import Callable

from lifeq_jax.methods import distill, oscillation
from lifeq_jax.methods.agem import agem
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.blip import blip
from lifeq_jax.methods.derpp import derpp
from lifeq_jax.methods.er_ace import er_ace
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
    "agem": agem,
    "blip": blip,
    "derpp": derpp,
    "er_ace": er_ace,
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

DISTILLATIONS: dict[str, Callable[..., Method]] = {
    "from_float": distill.from_float,
    "none": lambda evaluate: Method(),
}

OSCILLATIONS: dict[str, Callable[..., Method]] = {
    "dampen": oscillation.dampen,
    "freeze": oscillation.freeze,
    "none": oscillation.none,
    "track": oscillation.track,
}
