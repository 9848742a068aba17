"""HomoVar, the loss of ClimbQ (NeurIPS 2022): class weights from Levene's test of equal variances.

Levene's test asks whether the features of all classes have equal variances. Setting its statistic W to the critical
value and solving for n_i gives an interval [lower_i, upper_i] of sizes at which class i would pass. The farther a
class's size is outside, the nearer its beta is to 1, and the smaller its weight (1 - beta) / (1 - beta^n)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lifeq_jax.core.lookup import lookup
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.losses.f_distribution import f_quantile
from lifeq_jax.losses.rebalance import check, checked_log_beta, effective_weights, log_complement

LOG_FLOOR = -100.0  # the least logarithm, as in torch's binary cross-entropy
FAR = 1e20  # images; farther away counts as this far, so that log beta stays a normal float32


class Spreads(NamedTuple):
    """The statistics of the features of each class that Levene's test needs."""

    mean: jax.Array  # (K, F) mean feature of each class
    deviation: jax.Array  # (B,) z_ij, distance of each example to its class mean
    spread: jax.Array  # (K,) z_i, mean deviation of each class
    center: jax.Array  # () z, mean deviation of all classes
    within: jax.Array  # () SSW, variance of the deviations within classes
    size: jax.Array  # (K,) n_i of Levene's formula
    tested: jax.Array  # (K,) bool, the classes that the test compares
    freedom: jax.Array  # () degrees of freedom within classes
    unit: jax.Array  # () images of the data that one of `size` stands for


class Homogeneity(NamedTuple):
    """The result of Levene's test for each class, and the class sizes that pass it."""

    critical: jax.Array  # () quantile of the F distribution
    between: jax.Array  # (K,) n_i (z_i - z)^2 / z^2
    slack: jax.Array  # (K,) C_i / z^2, the largest n_i (z_i - z)^2 / z^2 with which the test would pass
    lower: jax.Array  # (K,) images; 0 where nothing bounds the size
    upper: jax.Array  # (K,) images; inf where nothing bounds the size


def homovar(alpha: float = 0.05, beta: float = 0.999, statistics: str = "batch") -> Loss:
    """w_y mean_k BCE(softmax_k, one_hot(y)_k) in nats; the class weights w get no gradient.

    Weights add up to the number of classes with images; a class without weighs 0. Holds: finite, with a finite
    gradient, for any counts and any batch. Source: ClimbQ utils/lt_loss.py.

    Args:
        alpha: level of the test, in (0, 1).
        beta: of a class that passes or cannot be tested, in (0, 1).
        statistics: row of STATISTICS.

    Example:
        >>> lq.losses.homovar(alpha=0.01)(examples).shape
        (2,)
    """
    check(alpha, "loss.args.alpha", 0 < alpha < 1, "a number between 0 and 1, both excluded")
    log_beta = checked_log_beta(beta)
    chosen = lookup(STATISTICS, statistics, "loss.args.statistics")

    def loss(examples: Examples) -> jax.Array:
        fixed = examples._replace(feature=jax.lax.stop_gradient(examples.feature))
        found = homogeneity(chosen.spreads(fixed), alpha, chosen.negative)
        log_betas = log_beta / distance_to_bounds(examples.counts, found, chosen.least)
        weights = effective_weights(examples.counts, log_betas)
        return weights[examples.label] * binary_cross_entropy(examples.logits, examples.label)

    return loss


def homogeneity(spreads: Spreads, alpha: float, negative: bool = False) -> Homogeneity:
    """Levene's test at level alpha, solved for the size of each class.

    With S_i = n_i z_i and z held, n (S_i / n - z)^2 <= C_i is z^2 n^2 - (2 z S_i + C_i) n + S_i^2 <= 0, so the sizes
    between its two roots pass. Where there is no root, or no test, nothing bounds the size. `negative`: both roots may
    be negative, which no size is; take their absolute values, as the original does, instead of no bound.

    Holds: the test passes if and only if every tested class has bounds and is inside them."""
    classes = jnp.sum(spreads.tested)
    possible = (classes > 1) & (spreads.freedom > 0) & (spreads.center > 0)
    center = jnp.where(possible, spreads.center, 1.0)
    groups = jnp.maximum(classes - 1, 1)
    ratio = spreads.spread / center  # squares of ratios neither overflow nor vanish
    between = jnp.where(spreads.tested, spreads.size * jnp.square(ratio - 1), 0.0)
    critical = f_quantile(1 - alpha, groups, jnp.maximum(spreads.freedom, 1))
    slack = critical * groups * spreads.within / center / center - (jnp.sum(between) - between)
    lower, upper, exist = _roots(spreads.size * ratio, slack / 2)
    bounded = possible & spreads.tested & (exist if negative else slack >= 0)
    lower, upper = (jnp.where(bounded, root * spreads.unit, other) for root, other in ((lower, 0.0), (upper, jnp.inf)))
    return Homogeneity(critical, between, slack, lower, upper)


def _roots(p: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """|roots| of n^2 - 2 (p + h) n + p^2, the algebraically smaller first, and whether they are real; p >= 0."""
    square = h * (h + 2 * p)
    root = jnp.sqrt(jnp.maximum(square, 0.0))
    outer = jnp.abs(p + h) + root  # the other follows from their product without cancellation
    inner = p * (p / jnp.where(outer > 0, outer, 1.0))
    return jnp.where(p + h < 0, outer, inner), jnp.where(p + h < 0, inner, outer), square >= 0


def distance_to_bounds(counts: jax.Array, found: Homogeneity, least: float) -> jax.Array:
    """Distance in images of each class's size from its bounds, at least `least`; 1 inside: counts (K,) -> (K,)."""
    outside = jnp.where(counts < found.lower, found.lower - counts, counts - found.upper)
    return jnp.where(outside > 0, jnp.clip(outside, least, FAR), 1.0)


def binary_cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """mean_k BCE(softmax(logits)_k, one_hot(label)_k): (B, K), (B,) -> (B,) in nats, K at least 2.

    Logarithms below -100 count as -100, without gradient, as in torch. Holds: 0 or more; finite value and gradient for
    any finite logits."""
    own = label.reshape(-1, 1) == jnp.arange(logits.shape[-1]).reshape(1, -1)
    logs = jnp.where(own, jax.nn.log_softmax(logits), log_complement(logits))
    return -jnp.mean(jnp.maximum(logs, LOG_FLOOR), axis=-1)


def of_batch(examples: Examples) -> Spreads:
    """The batch as a sample of the data: its own class means and spreads, and the sizes that a batch has on average.

    The test is of the M images of the tested classes in the batch, not of the N images of the data: with N, the
    sampling error of a mean of m_i examples would count as a difference between classes, and no test would ever pass.
    So n_i = counts_i M / N, and bounds are scaled back to images of the data by N / M. Classes with fewer than three
    examples are not tested: a single deviation is 0, and two are always equal.

    Deviations are multiplied by sqrt(m_i / (m_i - 1)) (Keyes and Levy, J. Educ. Behav. Stat. 22, 1997): a mean of few
    examples lies closer to each of them, so rare classes would seem to vary less. z is the mean over images, as in
    Levene's test; with the original's mean over classes, the sampling error of the rarest class would dominate.

    Still, the test fails more often than alpha where classes have few images in the batch. Where spreads do differ,
    mostly no size bounds any class, and the weights are those of `class_balanced`."""
    weight, label, across = examples.weight, examples.label, examples.across
    images = across(_by_class(examples, weight))
    tested = (images >= 3) & (examples.counts > 0)
    some = jnp.maximum(images, 1.0)
    mean = across(_by_class(examples, examples.feature * weight.reshape(-1, 1))) / some.reshape(-1, 1)
    shrunk = jnp.sqrt(some / jnp.maximum(images - 1, 1.0))
    deviation = jnp.sum(jnp.abs(examples.feature - mean[label]), axis=-1) * shrunk[label]
    spread = across(_by_class(examples, deviation * weight)) / some
    squares = across(jnp.sum(jnp.square(deviation - spread[label]) * weight * tested[label]))
    all_images, data = (jnp.sum(jnp.where(tested, part, 0.0)) for part in (images, examples.counts))
    freedom = all_images - jnp.sum(tested)
    unit = data / jnp.maximum(all_images, 1.0)
    center = jnp.sum(jnp.where(tested, examples.counts * spread, 0.0)) / jnp.maximum(data, 1.0)
    size = examples.counts / jnp.where(unit > 0, unit, 1.0)
    return Spreads(mean, deviation, spread, center, squares / jnp.maximum(freedom, 1.0), size, tested, freedom, unit)


def of_original(examples: Examples) -> Spreads:
    """The original's statistics: sums over the batch divided by the class sizes of the whole data.

    Features and deviations that are exactly 0 are left out; z is the mean over classes. The original is NaN where a
    class has no images; here such a class is left out."""
    counts, label, across = examples.counts, examples.label, examples.across
    present = counts > 0
    size = jnp.where(present, counts, 1.0)
    used = (examples.feature != 0) * examples.weight.reshape(-1, 1)
    mean = across(_by_class(examples, examples.feature * used)) / size.reshape(-1, 1)
    deviation = jnp.sum(jnp.abs(examples.feature - mean[label]) * used, axis=-1)
    spread = jnp.where(present, across(_by_class(examples, deviation)) / size, 0.0)
    squares = across(jnp.sum(jnp.square(deviation - spread[label]) * (deviation != 0) * present[label]))
    freedom = jnp.sum(counts) - jnp.sum(present)
    center = jnp.sum(spread) / jnp.maximum(jnp.sum(present), 1)
    within = squares / jnp.maximum(freedom, 1.0)
    return Spreads(mean, deviation, spread, center, within, size, present, freedom, jnp.ones(()))


def _by_class(examples: Examples, values: jax.Array) -> jax.Array:
    return jax.ops.segment_sum(values, examples.label, num_segments=len(examples.counts))


class Statistics(NamedTuple):
    """One version of the statistics, and the options in which the original differs."""

    spreads: Callable[[Examples], Spreads]
    negative: bool  # see `homogeneity`
    least: float  # see `distance_to_bounds`; 1 makes beta continuous at the bounds, where the original jumps to 0


STATISTICS: dict[str, Statistics] = {
    "batch": Statistics(of_batch, negative=False, least=1.0),
    "original": Statistics(of_original, negative=True, least=0.0),
}
