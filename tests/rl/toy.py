"""A game and a policy that tests can see through, compiled and on the host."""

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.rl.games import Emulator, Environments, Game, Outcome
from lifeq_jax.rl.heads import game_heads, head_of

SHAPE = (1, 1, 2)
HEAD = head_of(game_heads((2, 3)), 1)  # outputs 2 3 4 are the actions, 6 is the value


def counter(length=5, limit=False):
    """A game that counts its steps: it shows the step and the last action, gives 2 for action 1 and -3 for action 2,
    and ends after `length` steps; by a time limit, with `limit`. State: () int32."""

    def seen(step, action):
        return jnp.stack([step, action]).astype(jnp.uint8).reshape(SHAPE)

    def reset(key):
        zero = jnp.zeros((), jnp.int32)
        return zero, seen(zero, zero)

    def step(state, action, key):
        over = state + 1 == length
        after = jnp.where(over, 0, state + 1)
        reward = jnp.array([0.0, 2.0, -3.0])[action]
        return after, seen(after, jnp.where(over, 0, action)), Outcome(reward, over, over & limit, over)

    return Game(3, SHAPE, reset, step)


def in_turn(params, image):
    """Outputs of a sure policy: action (step + params) mod 3, value = step + 10."""
    step = jnp.round(image[:, 0, 0, 0] * 255).astype(jnp.int32)
    sure = 100 * jax.nn.one_hot((step + params) % 3, 3)
    return jnp.concatenate([jnp.zeros((len(step), 2)), sure, jnp.zeros((len(step), 1)), step[:, None] + 10.0], axis=1)


def on_host(game, log=None):
    """The game played by the host; what is asked of each set of copies is added to `log`."""

    def opened(num_envs):
        step, now, number = jax.jit(jax.vmap(game.step)), {}, len(log or ())

        def note(what):
            if log is not None:
                log.append((what, number))

        def reset(seed):
            note("reset")
            now["key"] = jax.random.key(seed)
            now["state"], image = jax.vmap(game.reset)(jax.random.split(now["key"], num_envs))
            return np.asarray(image)

        def send(action):
            note("send")
            now["key"] = jax.random.fold_in(now["key"], 0)
            keys = jax.random.split(now["key"], num_envs)
            now["state"], now["image"], now["outcome"] = step(now["state"], jnp.asarray(action), keys)

        def receive():
            note("receive")
            return np.asarray(now.pop("image")), jax.device_get(now.pop("outcome"))

        note("open")
        return Environments(reset, send, receive, lambda: note("close"))

    return Emulator(game.num_actions, game.shape, opened)
