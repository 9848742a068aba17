"""Several methods at once, such as a continual-learning method, a distillation and an oscillation control."""

from functools import reduce

import jax
import jax.numpy as jnp
import optax

from lifeq_jax.core.types import PyTree
from lifeq_jax.losses.base import Examples, Loss
from lifeq_jax.methods.base import Forward, Method, StepInfo, TaskEnd


def _member(link: optax.GradientTransformationExtraArgs, index: int) -> optax.GradientTransformationExtraArgs:
    """`link`, handed entry `index` of the method state."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None, *, method_state: tuple, **extra):
        return link.update(updates, state, params, method_state=method_state[index], **extra)

    return optax.GradientTransformationExtraArgs(link.init, update)


def combine(*methods: Method) -> Method:
    """One method made of several: penalties add up, and links of the chain run in the order given. State: a tuple.

    Every member sees only its own state; its `example_loss` takes the loss of the member before it, the first that of
    the recipe. A constraint that must be last belongs to the last member."""

    def penalty(state: tuple, params: PyTree, weights: PyTree) -> jax.Array:
        values = (method.penalty(own, params, weights) for method, own in zip(methods, state, strict=True))
        return reduce(jnp.add, values, jnp.zeros(()))

    def example_loss(state: tuple, loss: Loss, forward: Forward) -> jax.Array:
        def then(loss: Loss, member: tuple[Method, PyTree]) -> Loss:
            def values(examples: Examples) -> jax.Array:
                method, own = member
                return method.example_loss(own, loss, forward._replace(examples=examples))

            return values

        return reduce(then, zip(methods, state, strict=True), loss)(forward.examples)

    def observe(state: tuple, step: StepInfo) -> tuple:
        return tuple(method.observe(own, step) for method, own in zip(methods, state, strict=True))

    def end_task(state: tuple, task: TaskEnd) -> tuple:
        return tuple(method.end_task(own, task) for method, own in zip(methods, state, strict=True))

    def settle(state: tuple, params: PyTree) -> PyTree:
        for method, own in zip(methods, state, strict=True):
            params = method.settle(own, params)
        return params

    def measure(state: tuple, params: PyTree) -> dict[str, dict[str, jax.Array]]:
        found: dict[str, dict[str, jax.Array]] = {}
        for method, own in zip(methods, state, strict=True):
            for name, quantities in method.measure(own, params).items():
                found[name] = found.get(name, {}) | quantities
        return found

    return Method(
        init=lambda start: tuple(method.init(start) for method in methods),
        penalty=penalty,
        example_loss=example_loss,
        observe=observe,
        end_task=end_task,
        settle=settle,
        measure=measure,
        concludes=any(method.concludes for method in methods),
        needs_replay=any(method.needs_replay for method in methods),
        gradients=optax.chain(*(_member(method.gradients, index) for index, method in enumerate(methods))),
        constraint=optax.chain(*(_member(method.constraint, index) for index, method in enumerate(methods))),
    )
