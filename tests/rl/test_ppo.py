import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.losses.classify import OUT
from lifeq_jax.optim.chain import adam_by_progress, method_chain
from lifeq_jax.optim.schedules import constant, linear
from lifeq_jax.rl.ppo import PPO, Samples, entropy, gae, minibatch_order, normalized_advantage, ppo_loss
from tests.conftest import GOLDEN

CASES = json.loads((GOLDEN / "blip_rl_cases.json").read_text())


def rollout(arrays, case):
    """(reward, value, last value, done, truncated) of a recorded rollout, (T, N) each and (N,)."""
    names = ("rewards", "value_preds", "next_value", "masks", "bad_masks")
    reward, value, last, mask, bad = (jnp.asarray(arrays[f"{case}_{name}"][..., 0]) for name in names)
    return reward, value, last, mask[1:] == 0, bad[1:] == 0


@pytest.mark.parametrize("case", CASES["blip_rl_gae"])
@pytest.mark.parametrize("use_gae", [0, 1])
@pytest.mark.parametrize("use_limits", [0, 1])
def test_recorded_returns(golden, case, use_gae, use_limits):
    arrays, constants = golden("blip_rl_gae"), CASES["blip_rl_gae"][case]
    reward, value, last, done, truncated = rollout(arrays, case)
    assert np.any(done) and np.any(truncated) and not np.any(truncated & ~done)
    gae_lambda = constants["gae_lambda"] if use_gae else 1.0
    found = gae(reward, value, last, done, truncated & bool(use_limits), constants["gamma"], gae_lambda) + value
    expected = arrays[f"{case}_returns_gae{use_gae}_ptl{use_limits}"][:-1, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES["blip_rl_gae"])
def test_recorded_normalization(golden, case):
    arrays, constants = golden("blip_rl_gae"), CASES["blip_rl_gae"][case]
    reward, value, last, done, truncated = rollout(arrays, case)
    found = normalized_advantage(
        gae(reward, value, last, done, truncated & False, constants["gamma"], constants["gae_lambda"])
    )
    np.testing.assert_allclose(found, arrays[f"{case}_adv_norm"][..., 0], rtol=1e-5, atol=1e-6)


def test_advantages_by_hand():
    reward, value = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[0.5], [1.0], [2.0]])
    no, last = jnp.zeros((3, 1), bool), jnp.array([4.0])
    # deltas with gamma 1/2: 1 + 1/2 - 1/2 = 1, 2 + 1 - 1 = 2, 3 + 2 - 2 = 3; gamma lambda = 1/4
    np.testing.assert_allclose(gae(reward, value, last, no, no, 0.5, 0.5)[:, 0], [1 + 2.75 / 4, 2.75, 3])
    end = jnp.array([[False], [True], [False]])  # after step 1: delta 2 - 1 = 1, and nothing follows
    np.testing.assert_allclose(gae(reward, value, last, end, no, 0.5, 0.5)[:, 0], [1.25, 1, 3])
    np.testing.assert_allclose(gae(reward, value, last, end, end, 0.5, 0.5)[:, 0], [1, 0, 3])


def test_broken_off_at_a_time_limit_the_steps_before_count_on_the_last_value():
    reward, value = jnp.zeros((2, 1)), jnp.array([[7.0], [10.0]])
    end = jnp.array([[False], [True]])
    returns = gae(reward, value, jnp.zeros(1), end, end, 0.9, 1.0) + value
    np.testing.assert_allclose(returns[:, 0], [9, 10], rtol=1e-6)


def recorded_samples(arrays, case):
    names = {
        "label": "actions",
        "log_prob": "old_log_probs",
        "value": "value_preds",
        "returns": "returns",
        "advantage": "adv_norm",
    }
    columns = {ours: jnp.asarray(arrays[f"{case}_{name}"][:, 0]) for ours, name in names.items()}
    return Samples(image=jnp.zeros(len(columns["label"]), jnp.uint8), **columns)


@pytest.mark.parametrize("case", CASES["blip_rl_ppo_loss"])
def test_recorded_losses_gradients_and_adam_step(golden, case):
    arrays, given = golden("blip_rl_ppo_loss"), CASES["blip_rl_ppo_loss"][case]
    ppo = PPO(
        clip=given["clip_param"],
        value_coef=given["value_loss_coef"],
        entropy_coef=given["entropy_coef"],
        clip_value=given["use_clipped_value_loss"],
    )
    samples = recorded_samples(arrays, case)
    params = {"value": jnp.asarray(arrays[f"{case}_values"][:, 0]), "logits": jnp.asarray(arrays[f"{case}_logits"])}

    def loss(params):
        return ppo_loss(params["logits"], params["value"], samples, ppo)

    grads, terms = jax.jit(jax.grad(loss, has_aux=True))(params)
    for ours, theirs in (("policy", "action_loss"), ("value", "value_loss"), ("entropy", "entropy")):
        np.testing.assert_allclose(getattr(terms, ours), arrays[f"{case}_{theirs}"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(grads["value"], arrays[f"{case}_grad_values"][:, 0], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(grads["logits"], arrays[f"{case}_grad_logits"], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(optax.tree.norm(grads), arrays[f"{case}_grad_norm"], rtol=1e-5)
    weights = adam_by_progress(constant(given["lr"]), epsilon=given["eps"])
    nothing = optax.with_extra_args_support(optax.identity())
    optimizer = method_chain(nothing, weights, weights, nothing, given["max_grad_norm"])
    updates, _ = optimizer.update(grads, optimizer.init(params), params, progress=jnp.zeros(()))
    after = optax.apply_updates(params, updates)
    np.testing.assert_allclose(after["value"], arrays[f"{case}_values_after"][:, 0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(after["logits"], arrays[f"{case}_logits_after"], rtol=1e-5, atol=1e-7)


def test_both_sides_of_the_recorded_norm_are_covered(golden):
    """In one case the gradient is scaled down, in another it is not."""
    arrays, cases = golden("blip_rl_ppo_loss"), CASES["blip_rl_ppo_loss"]
    limited = {float(arrays[f"{case}_grad_norm"]) > given["max_grad_norm"] for case, given in cases.items()}
    assert limited == {True, False}


def test_recorded_learning_rates(golden):
    arrays = golden("blip_rl_ppo_loss")
    progress = jnp.asarray(arrays["lin_lr_steps"] / 5000, jnp.float32)
    # a share of the task in float32 is exact to 1e-7 of the whole
    np.testing.assert_allclose(linear(2.5e-4)(progress), arrays["lin_lr"], rtol=1e-5, atol=1e-7 * 2.5e-4)


def test_outputs_of_other_games_have_no_part():
    logits = jnp.array([[0.3, -0.2, OUT, OUT], [1.0, 2.0, OUT, OUT]])
    given = (jnp.array([1, 0]), *(jnp.array(pair) for pair in ([-0.7, -1.5], [0.1, 0.2], [0.5, -0.3], [1.0, -2.0])))
    samples = Samples(jnp.zeros(2, jnp.uint8), *given)
    value = jnp.array([0.4, 0.1])
    (_, terms), gradient = jax.value_and_grad(lambda logits: ppo_loss(logits, value, samples, PPO()), has_aux=True)(
        logits
    )
    (_, alone), of_two = jax.value_and_grad(lambda logits: ppo_loss(logits, value, samples, PPO()), has_aux=True)(
        logits[:, :2]
    )
    np.testing.assert_allclose(terms, alone, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, :2], of_two, rtol=1e-5)
    assert np.all(gradient[:, 2:] == 0)
    np.testing.assert_allclose(entropy(jnp.zeros((1, 8))), [np.log(8)], rtol=1e-6)


def test_share_of_clipped_ratios():
    log_prob = jnp.log(jnp.array([0.5, 0.45, 0.4, 0.6]))  # now 0.5 each: ratios 1, 1.11, 1.25, 0.83
    zeros = jnp.zeros(4)
    samples = Samples(jnp.zeros(4, jnp.uint8), jnp.zeros(4, jnp.int32), log_prob, zeros, zeros, zeros + 1)
    _, terms = ppo_loss(jnp.zeros((4, 2)), zeros, samples, PPO(clip=0.2))
    np.testing.assert_allclose(terms.clipped, 0.25)


def test_every_pass_sees_every_step_once_in_an_order_of_its_own():
    ppo = PPO(epochs=3, minibatches=4)
    order = np.asarray(minibatch_order(jax.random.key(1), 20, ppo))
    assert order.shape == (12, 5)
    passes = order.reshape(3, 20)
    assert all(sorted(one) == list(range(20)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 3
    assert np.array_equal(order, minibatch_order(jax.random.key(1), 20, ppo))
    assert not np.array_equal(order, minibatch_order(jax.random.key(2), 20, ppo))


def test_rows_that_fill_no_minibatch_are_left_out():
    order = np.asarray(minibatch_order(jax.random.key(0), 22, PPO(epochs=2, minibatches=4)))
    assert order.shape == (8, 5)
    assert all(len(set(one)) == 20 for one in order.reshape(2, 20).tolist())
