"""LifeQuant: protect the quantized weights, not the latent parameters behind them.

The outputs of a low-bit network depend on its quantized weights alone. Latent weights can move inside a rounding cell,
and under ProxQ's normalization (2 bits and more) by any scale and shift, without changing an output; yet a small common
drift of them can change many codes. So importance, anchor and distance are those of the quantized weights:

    E[((w_q - w_s) dL/dw_q)^2] = sum_i F_i (w_q,i - w_s,i)^2,   F_i = E[(dL/dw_q,i)^2],

with w_s the quantized weights at the end of the last task. The gradient of the penalty reaches the latent parameters
through the quantizer's straight-through estimator."""

from lifeq_jax.core.lookup import lookup
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.losses import LOSSES
from lifeq_jax.methods.base import Method
from lifeq_jax.methods.importance import FISHERS, squared_objective
from lifeq_jax.methods.noise import noisy_loss
from lifeq_jax.methods.penalty import anchored, check_positive
from lifeq_jax.optim.prox import proximal_step
from lifeq_jax.quant.base import check_bits

SPACES = {"quantized": True, "latent": False}


def lifequant(
    strength: float = 100.0,
    fisher: str = "batch",
    loss: str = "ball_log_prior",
    space: str = "quantized",
    prox: float = 1e-4,
    range_: float = 2.0,
    history: str = "averaged",
    decay: float = 1.0,
    noise_bits: int = 0,
    act_range: float = 2.0,
    limit: float = 0.1,
) -> Method:
    """Penalty sum s (w_q - w_s)^2, s = F strength / (1 + F strength / limit), and the proximal step as constraint.

    Original: space="latent", loss="ball_shift" or "cross_entropy", history="recomputed", limit=inf, prox=0 (its
    quantizer normalizes anyway); MobileNet: "ball_scale" and noise_bits. Source: LifeQuant (ICCV 2023),
    utils/lifelong.py `ours`. State: an Anchor.

    Args:
        strength: finite, 0 or more.
        fisher: batch, empirical or sampled. A batch of B gives about 1/B of the other two and needs B times the
            strength.
        loss: the importance loss (row of LOSSES), balanced by the class sizes of the newest task's data.
        space: quantized, or latent, the original's.
        prox: strength of the proximal step toward std range_/4; 0: off, inf: the hard normalization.
        range_: that of the weight quantizer.
        history: averaged, online or per_task, as in `ewc`, which read the newest task alone and so cost the same after
            any number of tasks; or recomputed, the original's: F over the data of all tasks so far.
        decay: of the old importances, in [0, 1]; for online and per_task.
        noise_bits: adds the activation noise of noise.py, for fisher="batch" only: up to one quantization step of so
            many bits over the range `act_range`; 0: off.
        act_range: the original's argument of that name.
        limit: bound of s (penalty.bounded). On latent weights it acts multiplied by the square of the quantizer's
            slope, (range_ / 4 / std)^2, hence the small default.

    Example:
        >>> lq.methods.lifequant(prox=-1.0)
        Traceback (most recent call last):
        lifeq_jax.core.refusal.Refusal: proximal strength=-1.0 is not a number from 0 to inf
    """
    check_positive(range_, "method.args.range_")
    if not limit > 0:
        raise Refusal(f"method.args.limit={limit!r} is not a number above 0; inf: no limit")
    quantized = lookup(SPACES, space, "method.args.space")
    values = lookup(LOSSES, loss, "method.args.loss")()
    contribution = lookup(FISHERS, fisher, "method.args.fisher")(values)
    if noise_bits > 0:
        if fisher != "batch":
            raise Refusal(f"method.args.noise_bits={noise_bits!r} needs method.args.fisher='batch', not {fisher!r}")
        bits = check_bits(noise_bits, "method.args.noise_bits")
        noisy = noisy_loss(values, bits, check_positive(act_range, "method.args.act_range"))
        contribution = squared_objective(noisy)
    method = anchored(
        contribution,
        strength=strength,
        history=history,
        decay=decay,
        quantized=quantized,
        count_batches=noise_bits > 0,
        limit=limit,
    )
    return method._replace(constraint=proximal_step(prox, range_)) if prox else method
