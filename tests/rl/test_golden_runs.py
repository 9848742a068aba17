"""Whole recorded runs of the original's agents: three games, an update of PPO each, and what the method does then."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.core.tree import map_named, named_leaves
from lifeq_jax.methods import METHODS
from lifeq_jax.methods.head import is_head
from tests.rl.golden_agent import CASES, LAYERS, Run

HALF_LAMBDA = 5000 / 2  # the original's penalty has a factor 1/2
FISHER_BATCH = 2  # 64 steps in 32 minibatches; the recorded Fisher information of BLIP is divided by its square
MODULES = {theirs: f"{ours}/dense" for theirs, ours in LAYERS.items()}
LEAVES = {"w": "kernel", "b": "bias"}


def stale_trunk(last, max_norm):
    """The gradients as torch has them where the trunk is frozen: its last ones stay, count in the norm, and are scaled
    down with it again and again. Those at the end of a game are found in the link's state, and go into `last`."""

    def init(params):
        return last.get("gradients", jax.tree.map(jnp.zeros_like, params))

    def update(updates, old, params=None, *, method_state, **_):
        def seen(name, own, stale):
            return jnp.where((method_state > 0) & (not is_head(name)), stale, own)

        updates = map_named(seen, updates, old)
        scale = jnp.minimum(1.0, max_norm / optax.tree.norm(updates))
        return updates, jax.tree.map(lambda leaf: scale * leaf, updates)

    return optax.GradientTransformationExtraArgs(init, update)


def test_fine_tuning_of_the_heads_on_a_frozen_trunk(golden):
    name, last = "blip_rl_run_ft_fix", {}
    link = stale_trunk(last, CASES[name]["max_grad_norm"])
    run = Run(golden, name, METHODS["frozen"]()._replace(gradients=link))
    for game in range(3):
        run.check_update(game, run.update(game))
        last["gradients"] = run.state.opt_state[0]
        run.end_task(game)


@pytest.mark.parametrize(("name", "history"), [("online", "online"), ("offline", "per_task")])
def test_ewc(golden, name, history):
    run = Run(golden, f"blip_rl_run_ewc_{name}", METHODS["ewc"](HALF_LAMBDA, "batch", history))

    def penalty():
        return run.method.penalty(run.state.method_state, run.state.params, run.state.params) / (2 * HALF_LAMBDA)

    for game in range(3):
        np.testing.assert_allclose(penalty(), run.arrays[f"t{game}_ewc_loss_before"], rtol=1e-4, atol=1e-12)
        run.check_update(game, run.update(game))
        np.testing.assert_allclose(penalty(), run.arrays[f"t{game}_ewc_loss_after"], rtol=1e-3, atol=1e-12)
        before = named_leaves(run.state.method_state.importance)
        run.end_task(game)
        importance = named_leaves(run.state.method_state.importance)
        for theirs, ours in MODULES.items():
            for last, leaf in (("weight", "kernel"), ("bias", "bias")):
                found = importance[f"{ours}/{leaf}"]
                if history == "per_task":  # recorded is that of the game alone
                    found = found - before[f"{ours}/{leaf}"]
                expected = HALF_LAMBDA * run.arrays[f"t{game}_F_{theirs}.{last}"].T
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_blip(golden):
    method = METHODS["blip"](prior=5e-13 * FISHER_BATCH**2, fisher="empirical", cell="full", head=False, widest=True)
    run, compared = Run(golden, "blip_rl_run_blip", method), 0
    arrays = run.arrays
    for game in range(3):
        run.check_update(game, run.update(game))
        before = run.state.method_state.fisher
        run.end_task(game)
        frozen, params = run.state.method_state, named_leaves(run.state.params)
        for theirs, ours in MODULES.items():
            gain = arrays[f"t{game}_ig64_{theirs}"].T
            clear = {"kernel": np.abs(gain - np.round(gain)) > 1e-4, "bias": True}  # the others may round either way
            for kind, leaf in LEAVES.items():
                name, own = f"{ours}/{leaf}", "" if kind == "w" else "b"
                fisher, bits, after = (
                    arrays[f"t{game}_{what}_{theirs}"].T for what in (f"F{kind}", f"bits{own}", f"sync{own}")
                )
                of_game = (frozen.fisher[name] * (game + 2) - before[name] * (game + 1)) / FISHER_BATCH**2
                np.testing.assert_allclose(of_game, fisher, rtol=1e-4, atol=1e-5 * fisher.max())
                where = np.broadcast_to(clear[leaf], bits.shape)
                compared += where.sum()
                np.testing.assert_array_equal(frozen.bits[name][where], bits[where])
                np.testing.assert_allclose(params[name][where], after[where], rtol=1e-6)
    assert compared > 0.99 * 3 * sum(leaf.size for leaf in frozen.bits.values())
