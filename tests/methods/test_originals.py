"""Importances and penalties of LifeQuant's program, and of EWC, IMM and LwF in BLIP's, as recorded."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.losses import LOSSES
from lifeq_jax.losses.balanced import scaled_cross_entropy, shifted_cross_entropy
from lifeq_jax.losses.classify import cross_entropy_of_labels
from lifeq_jax.methods.base import Outputs
from lifeq_jax.methods.ewc import ewc
from lifeq_jax.methods.imm import imm
from lifeq_jax.methods.importance import mean_over, squared_batch_gradients, squared_objective
from lifeq_jax.methods.lifequant import lifequant
from lifeq_jax.methods.lwf import Teacher, distillation, lwf
from lifeq_jax.methods.mas import mas
from lifeq_jax.methods.noise import noise_loss
from lifeq_jax.methods.penalty import Anchor, anchored, weighted_distance
from lifeq_jax.methods.rwalk import rwalk
from lifeq_jax.methods.scp import sliced
from lifeq_jax.methods.si import si
from tests import vectors
from tests.methods import recorded, tiny, toy
from tests.methods.trainer import added, start

FACTOR = vectors.scalars("blip_baseline_ewc").get("fisher_sbatch_constant", 20)  # of BLIP's Fisher information


@pytest.fixture
def arrays():
    return vectors.arrays("lq_importance")


def weighted(variant):
    """A loss with the recorded class weights in place of those of counts."""
    weights = recorded.class_weights(vectors.arrays("lq_importance"))
    return lambda examples: variant(examples.logits, examples.label, weights)


OURS = {
    "ewc": lambda: ewc(strength=1.0, fisher="batch", history="recomputed"),
    "mas": lambda: mas(strength=1.0, history="recomputed"),
    "ours_resnet20_balanced_False": lambda: lifequant(
        strength=1.0,
        fisher="batch",
        space="latent",
        prox=0.0,
        history="recomputed",
        limit=math.inf,
        loss="cross_entropy",
    ),
    "ours_resnet20_balanced_True": lambda: anchored(
        squared_batch_gradients(weighted(shifted_cross_entropy)), strength=1.0, history="recomputed"
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_importance_and_penalty(arrays, name):
    method, params = OURS[name](), recorded.tree(arrays, "p_old")
    state = method.end_task(method.init(start(params)), recorded.task_end(arrays, params))
    recorded.close(state.importance, recorded.tree(arrays, f"{name}/importance"))
    recorded.check_penalty(method, state, arrays, name)


def check_importance(arrays, name, contribution):
    """The importance that contribution(number, batch) adds up to is the one recorded under mlp/`name`."""
    parts = jax.jit(lambda batches: [contribution(*pair) for pair in enumerate(batches)])(recorded.batches(arrays))
    importance = recorded.mean_of(parts)
    recorded.close(importance, recorded.tree(arrays, f"{name}/importance"))
    state = Anchor(importance, recorded.tree(arrays, "p_old"), jnp.zeros(()))
    recorded.check_penalty(ewc(strength=1.0), state, arrays, name)


@pytest.mark.parametrize("balanced", [True, False])
def test_importance_with_noise(arrays, balanced):
    loss = weighted(scaled_cross_entropy) if balanced else LOSSES["cross_entropy"]()
    facts = vectors.scalars("lq_importance", "mlp/")

    def contribution(number, batch):
        def objective(probe, batch, key):
            outputs = probe.apply(probe.point, batch.image)
            draws, step = jnp.asarray(arrays[f"mlp/noise/b{number}"]), facts["act_range"] / (2 ** facts["bitW"] - 1)
            noise = noise_loss(probe, *outputs, batch.weight, draws, step=step)
            return noise / probe.num_batches + mean_over(loss, probe, outputs, batch)

        return squared_objective(objective)(recorded.probe(arrays), batch, jax.random.key(0))

    check_importance(arrays, f"ours_mobilenet_balanced_{balanced}", contribution)


def test_importance_along_vectors(arrays):
    def contribution(number, batch):
        vectors_of = lambda size: jnp.asarray(arrays[f"mlp/scp/vectors/b{number}"])  # noqa: E731
        return sliced(recorded.probe(arrays), batch, "absolute", vectors_of)

    check_importance(arrays, "scp", contribution)


PATHS = {"si": si(strength=1.0, clamp=False), "rwalk": rwalk(strength=1.0, clamp=False)}


@pytest.mark.parametrize("name", PATHS)
def test_importance_along_the_path(arrays, name):
    method, params = PATHS[name], recorded.tree(arrays, "p_old")
    state, observe = method.init(start(params)), jax.jit(method.observe)
    for task in range(len(vectors.keys("lq_importance", rf"mlp/{name}/task(\d+)/penalty"))):
        infos, params = recorded.steps(arrays, task, params)
        assert infos
        for info in infos:
            state = observe(state, info)
        if task == 0:
            recorded.close(state.path, recorded.tree(arrays, f"{name}/task0/W"))
        state, after = method.end_task(state, recorded.task_end(arrays, params, task)), f"{name}/task{task + 1}"
        recorded.close(state.score, recorded.tree(arrays, f"{after}/omega"))
        recorded.close(state.params, recorded.tree(arrays, f"{after}/p_prev"))
        sizes = jax.tree.map(np.abs, state.score)
        if name == "rwalk":
            recorded.close(state.fisher, recorded.tree(arrays, f"{after}/fisher"))
            sizes = jax.tree.map(np.add, sizes, state.fisher)
        scale = jax.jit(weighted_distance)(sizes, state.params, recorded.tree(arrays, "p_new"))
        recorded.check_penalty(method, state, arrays, after, scale=float(scale))


@pytest.mark.parametrize(("name", "method"), [("si", si()), ("rwalk", rwalk())])
def test_the_original_never_acts_along_a_path(arrays, name, method):
    """SI's state there sees no step, RWalk's is lost between tasks."""
    new = recorded.tree(arrays, "p_new")
    state = method.init(start(recorded.tree(arrays, "p_old")))
    if name == "si":
        state = method.end_task(state, recorded.task_end(arrays, recorded.tree(arrays, "p_old")))
    assert float(method.penalty(state, new, new)) == float(arrays[f"mlp/{name}_as_in_main/penalty"]) == 0.0


def check_criterion(arrays, method, state, task):
    """What the task after `task` minimizes, and its gradient, at the recorded point."""
    batch, point = tiny.whole_batch(arrays, f"t{task}_phi", task + 1), tiny.tree(arrays, f"t{task}_phi")
    value, gradient = jax.jit(jax.value_and_grad(tiny.criterion(method, state, batch)))(point)
    np.testing.assert_allclose(value, arrays[f"t{task}_loss"], rtol=1e-5)
    recorded.close(gradient, tiny.tree(arrays, f"t{task}_grad"))


def test_ewc_of_blip():
    arrays, facts = vectors.arrays("blip_baseline_ewc"), vectors.scalars("blip_baseline_ewc")
    method = ewc(strength=facts["lamb"] * FACTOR / 2, fisher="batch", history="averaged")
    state = method.init(start(tiny.tree(arrays, "t0_theta")))
    for task in range(len(facts["heads"])):
        params = tiny.tree(arrays, f"t{task}_theta")
        state = method.end_task(state, tiny.task_end(arrays, facts["loader_batch"], task, params))
        fisher = jax.tree.map(lambda f: np.asarray(f) / (facts["lamb"] / 2), state.importance)
        recorded.close(fisher, tiny.tree(arrays, f"t{task}_fisher"))
        if task + 1 < len(facts["heads"]):
            check_criterion(arrays, method, state, task)


def test_imm_of_blip():
    arrays, facts = vectors.arrays("blip_baseline_imm_mode"), vectors.scalars("blip_baseline_imm_mode")
    method = imm(strength=facts["lamb"], unseen="zero")
    state = method.init(start(tiny.tree(arrays, "t0_before")))
    for task in range(len(facts["heads"])):
        params = tiny.tree(arrays, f"t{task}_before")
        state = method.end_task(state, tiny.task_end(arrays, facts["loader_batch"], task, params))
        fisher = jax.tree.map(lambda f: FACTOR * np.asarray(f), state.merged.importance)
        recorded.close(fisher, tiny.tree(arrays, f"t{task}_fisher"))
        if task > 0:
            recorded.close(state.merged.params, tiny.tree(arrays, f"t{task}_intended"))
        # The original never goes on with what it merged.
        state = state._replace(merged=state.merged._replace(params=params))
        if task + 1 < len(facts["heads"]):
            check_criterion(arrays, method, state, task)


@pytest.mark.parametrize("case", vectors.cases("blip_baseline_lwf"))
def test_lwf_of_blip(case):
    arrays, facts = vectors.arrays("blip_baseline_lwf"), vectors.cases("blip_baseline_lwf")[case]
    heads, task, temperature = facts["heads"], facts["t"], float(facts["T"])

    def outputs(kind):
        return np.concatenate([arrays[f"{case}_{kind}{head}"] for head in range(len(heads))], axis=1)

    now, old, label = outputs("out"), outputs("old"), arrays[f"{case}_y"]
    owner, first = np.repeat(np.arange(len(heads)), heads), sum(heads[:task])
    of_one = jax.jit(distillation, static_argnums=3)
    for head in range(task):
        values = of_one(now, old, np.asarray(owner == head, np.int32), temperature)
        np.testing.assert_allclose(np.mean(values), arrays[f"{case}_dist{head}"], rtol=1e-5)
    method, batch = lwf(float(facts["lamb"]), temperature), toy.data(0, size=len(label))
    state = Teacher({}, jnp.asarray(np.where(owner < task, owner + 1, 0), jnp.int32), jnp.float32(facts["lamb"]))

    def loss(logits):
        own = jnp.mean(cross_entropy_of_labels(logits[:, first : first + heads[task]], label))
        return own + added(method, state, batch, logits, lambda params, image: Outputs(old, image))

    value, gradient = jax.jit(jax.value_and_grad(loss))(now)
    np.testing.assert_allclose(value, arrays[f"{case}_loss"], rtol=1e-5)
    np.testing.assert_allclose(gradient, outputs("grad"), rtol=1e-5, atol=1e-6)
