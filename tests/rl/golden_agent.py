"""The tanh agent of the recorded runs, and its recorded play, as the records that a training step and a method see."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from lifeq_jax.methods.base import Outputs, StageStart, TaskEnd
from lifeq_jax.optim.chain import adam_by_progress, method_chain
from lifeq_jax.optim.schedules import constant
from lifeq_jax.rl.heads import game_heads, head_of
from lifeq_jax.rl.learn import Minibatch, batch_of_actions, objective
from lifeq_jax.rl.ppo import PPO, Samples, normalized_advantage
from lifeq_jax.train.step import fresh_state, make_step
from tests.conftest import GOLDEN
from tests.methods.trainer import network

CASES = json.loads((GOLDEN / "blip_rl_cases.json").read_text())
ACTIONS = (4, 3, 5)
HEADS = game_heads(ACTIONS)
OUTPUTS = sum(ACTIONS) + len(ACTIONS)
LAYERS = {"actor.0": "stem", "actor.2": "dense"}
SCALE = 255.0  # the recorded observations are floats, and the network divides by it


def apply(params, image):
    x = image.reshape(len(image), -1) * SCALE
    for layer in LAYERS.values():
        x = jnp.tanh(x @ params[layer]["dense"]["kernel"] + params[layer]["dense"]["bias"][None])
    return Outputs(head(params, x), x)


def head(params, feature):
    return feature @ params["classifier"]["dense"]["kernel"] + params["classifier"]["dense"]["bias"][None]


def tree(arrays, prefix):
    """The parameters recorded under `prefix`: policies of all games, then their values, in one classifier."""

    def dense(weights, biases):
        kernel = np.concatenate([arrays[f"{prefix}_{name}"] for name in weights]).T
        return {"dense": {"kernel": kernel, "bias": np.concatenate([arrays[f"{prefix}_{name}"] for name in biases])}}

    found = {ours: dense([f"features.{name}.weight"], [f"features.{name}.bias"]) for name, ours in LAYERS.items()}
    parts = [f"dist.{game}.linear" for game in range(3)] + [f"critic.{game}" for game in range(3)]
    found["classifier"] = dense([f"{part}.weight" for part in parts], [f"{part}.bias" for part in parts])
    return jax.tree.map(jnp.asarray, found)


def samples(arrays, game):
    """The recorded rollout of a game in rows, step after step."""
    rows = {
        name: arrays[f"t{game}_{name}"] for name in ("obs", "actions", "action_log_probs", "value_preds", "returns")
    }
    rows = {name: value[:16].reshape(64, -1) for name, value in rows.items()}
    value, returns = jnp.asarray(rows["value_preds"][:, 0]), jnp.asarray(rows["returns"][:, 0])
    return Samples(
        image=jnp.asarray(rows["obs"]).reshape(64, 1, 1, 5),
        label=jnp.asarray(rows["actions"][:, 0]) + HEADS.first[game],
        log_prob=jnp.asarray(rows["action_log_probs"][:, 0]),
        value=value,
        returns=returns,
        advantage=normalized_advantage(returns - value),
    )


def minibatches(arrays, game):
    """Those of the recorded update, in their order."""
    whole = samples(arrays, game)
    for rows in arrays[f"t{game}_mb"]:
        part = jax.tree.map(lambda column, rows=rows: column[rows], whole)
        yield Minibatch(part, head_of(HEADS, game), jnp.int32(game))


def fisher_batches(arrays, game):
    """Those of the recorded Fisher information, with the actions that were drawn there."""
    whole = samples(arrays, game)
    for rows, drawn in zip(arrays[f"t{game}_fmb"], arrays[f"t{game}_factions"], strict=True):
        yield batch_of_actions(whole.image[rows], jnp.asarray(drawn) + HEADS.first[game], head_of(HEADS, game), game)


class Run:
    """A recorded run under one of our methods, game after game."""

    def __init__(self, golden, name, method):
        self.arrays, self.method, given = golden(name), method, CASES[name]
        assert tuple(given["heads"]) == ACTIONS
        rate = adam_by_progress(constant(given["lr"]), given["eps"])
        self.optimizer = method_chain(method.gradients, rate, rate, method.constraint, given["max_grad_norm"])
        ppo = PPO(clip=given["clip_param"], value_coef=given["value_loss_coef"], entropy_coef=given["entropy_coef"])
        start = tree(self.arrays, "init")
        net = network(apply, quantized=jax.tree.map(lambda _: False, start))
        self.step = jax.jit(make_step(objective(net, method, ppo), net, method, self.optimizer))
        self.state = fresh_state(
            method, self.optimizer, StageStart(start, len(ACTIONS), OUTPUTS), (), jnp.ones(OUTPUTS), num_steps=8
        )

    def update(self, game):
        """The recorded update of a game with a fresh optimizer; returns the totals of its steps."""
        state = self.state._replace(opt_state=self.optimizer.init(self.state.params), step=jnp.zeros((), jnp.int32))
        totals = []
        for minibatch in minibatches(self.arrays, game):
            state, new = self.step(state, minibatch, jax.random.key(0))
            totals.append(new)
        self.state = state
        return jax.tree.map(lambda *parts: np.mean(parts), *totals)

    def end_task(self, game):
        """What the method makes of the finished game."""
        params = self.state.params

        def loader():
            return list(fisher_batches(self.arrays, game))

        end = TaskEnd(
            game, params, params, apply, apply, head, (loader,) * (game + 1), jnp.ones(OUTPUTS), jax.random.key(0)
        )
        method_state = self.method.end_task(self.state.method_state, end)
        params = jax.tree.map(jnp.copy, self.method.settle(method_state, params))
        self.state = self.state._replace(method_state=method_state, params=params)

    def check_update(self, game, totals, rtol=1e-4):
        """The losses and the parameters after the update are the recorded ones."""
        found = (totals.counts.value, totals.counts.policy, totals.counts.entropy)
        np.testing.assert_allclose(found, self.arrays[f"t{game}_losses"], rtol=rtol, atol=1e-6)
        close(self.state.params, tree(self.arrays, f"t{game}_upd"), rtol)


def close(found, expected, rtol):
    """Trees equal up to `rtol` of the largest entry of each leaf."""

    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.max(np.abs(b))))

    jax.tree.map(compare, found, expected)
