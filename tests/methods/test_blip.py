"""BLIP: a whole recorded run of the original, frozen bits that stay, and what each argument does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.core.types import Batch
from lifeq_jax.losses.classify import cross_entropy_of_labels, of_head
from lifeq_jax.methods.base import Outputs, TaskEnd
from lifeq_jax.methods.blip import blip, limits_of, protected
from lifeq_jax.optim.chain import adam_by_progress, method_chain, sgd_by_progress
from lifeq_jax.optim.schedules import constant
from lifeq_jax.quant import bit_alloc
from tests import vectors
from tests.methods.trainer import start

RUN, FACTS = "blip_mlp_run", vectors.scalars("blip_mlp_run")
HEADS = (2, 2, 3)
OUTPUTS = np.split(np.arange(sum(HEADS)), np.cumsum(HEADS)[:-1])  # of each head


def forward(params, image):
    stem, classifier = params["stem"]["dense"], params["classifier"]["dense"]
    flat = image.reshape(image.shape[0], -1)
    feature = jax.nn.relu(flat @ stem["kernel"] + stem["bias"].reshape(1, -1))
    return Outputs(feature @ classifier["kernel"] + classifier["bias"].reshape(1, -1), feature)


def head_of(params, feature):
    classifier = params["classifier"]["dense"]
    return feature @ classifier["kernel"] + classifier["bias"].reshape(1, -1)


def batch_of(x, label, task, heads=HEADS):
    size = len(x)
    classes = np.repeat(range(len(heads)), heads) == task
    return Batch(
        image=x,
        label=label.astype(np.int32),
        weight=np.ones(size, np.float32),
        task=np.full(size, task, np.int32),
        is_replay=np.zeros(size, bool),
        index=np.arange(size, dtype=np.int32),
        classes=np.tile(classes, (size, 1)),
    )


def task_end(params, task, batches):
    counts = np.ones(len(params["classifier"]["dense"]["bias"]), np.float32)
    return TaskEnd(
        task, params, params, forward, forward, head_of, (lambda: batches,) * (task + 1), counts, jax.random.key(task)
    )


@jax.jit
def loss(params, batch):
    return jnp.mean(cross_entropy_of_labels(of_head(forward(params, batch.image).logits, batch.classes), batch.label))


def trainer(method, rate):
    """(step, init): one step of plain SGD under the method's constraint."""
    optimizer = method_chain(
        method.gradients, sgd_by_progress(constant(rate), 0.0), adam_by_progress(constant(rate)), method.constraint
    )

    @jax.jit
    def step(params, opt_state, state, batch):
        updates, opt_state = optimizer.update(
            jax.grad(loss)(params, batch), opt_state, params, progress=jnp.zeros(()), method_state=state, quantized=None
        )
        return optax.apply_updates(params, updates), opt_state

    return step, optimizer.init


def layer_at(run, where, task):
    """The recorded values of the hidden layer and of the head of `task`, in our layout."""
    names = {"stem": ("w1", "b1"), "classifier": (f"hw{task}", f"hb{task}") if where == "init" else ("hw", "hb")}
    return {
        layer: {"kernel": run[f"{where}_{kernel}"].T, "bias": run[f"{where}_{bias}"]}
        for layer, (kernel, bias) in names.items()
    }


def set_layers(params, layers, columns):
    """params with the values of `layers`, those of a head in the `columns` of the classifier."""
    head = jax.tree.map(np.array, params["classifier"]["dense"])
    for name, new in layers["classifier"].items():
        head[name][..., columns] = new
    return jax.tree.map(jnp.asarray, {"stem": {"dense": layers["stem"]}, "classifier": {"dense": head}})


def recorded_params(run):
    tasks = [layer_at(run, "init", task) for task in range(len(FACTS["taskcla"]))]
    head = jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1), *(layers["classifier"] for layers in tasks))
    return jax.tree.map(jnp.asarray, {"stem": {"dense": tasks[0]["stem"]}, "classifier": {"dense": head}})


def test_a_whole_run_of_the_original():
    run, size, scale = vectors.arrays(RUN), FACTS["sbatch"], FACTS["fisher_batch_size"] ** 2  # its Fisher's unit
    method = blip(prior=FACTS["F_prior"] * scale, fisher="empirical", cell="full", head=False)  # with recorded labels
    step, begin = trainer(method, FACTS["lr"])
    params = recorded_params(run)
    state = method.init(start(params))
    near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-6)
    heads = [size for _, size in FACTS["taskcla"]]
    for task, first in enumerate(np.cumsum([0, *heads[:-1]])):
        columns = slice(first, first + heads[task])
        x, y = run[f"t{task}_x"], run[f"t{task}_y"] + first
        opt_state = begin(params)
        for epoch in range(FACTS["epochs"]):
            order = run[f"t{task}e{epoch}_perm"]
            for rows in np.split(order, range(size, len(order), size)):
                params, opt_state = step(params, opt_state, state, batch_of(x[rows], y[rows], task, heads))
            # The next epoch begins with the original's values, so that no last bit adds up to another rounding.
            new = set_layers(params, layer_at(run, f"t{task}e{epoch}", task), columns)
            jax.tree.map(near, params, new)
            params = new
        everything = batch_of(x, y, task, heads)
        np.testing.assert_allclose(loss(params, everything), run[f"t{task}_eval_loss"], rtol=1e-5)
        seen = batch_of(x[run[f"t{task}_fperm"]], run[f"t{task}_ftargets"] + first, task, heads)
        state = method.end_task(state, task_end(params, task, [seen]))
        params = method.settle(state, params)
        # 1/(t + 2) of the sum of all information
        found = np.array(state.fisher["stem/dense/kernel"]) / scale
        np.testing.assert_allclose(found, run[f"t{task}_Fw_old"].T, rtol=1e-4, atol=1e-12)
        gain = run[f"t{task}_ig_w_64"].T
        sure = np.abs(gain - np.round(gain)) > 1e-3
        np.testing.assert_array_equal(np.asarray(state.bits["stem/dense/kernel"])[sure], run[f"t{task}_bits_w"].T[sure])
        np.testing.assert_array_equal(state.bits["stem/dense/bias"], run[f"t{task}_bits_b"])
        near(params["stem"]["dense"]["kernel"], run[f"t{task}_w1_sync"].T)
        near(params["stem"]["dense"]["bias"], run[f"t{task}_b1_sync"])
        np.testing.assert_allclose(loss(params, everything), run[f"t{task}_eval_loss_sync"], rtol=1e-4)
        np.testing.assert_allclose(bit_alloc.capacity(state.bits), run[f"t{task}_used_capacity"], rtol=1e-5)


def random_params(seed):
    random = np.random.default_rng(seed)

    def layer(inputs, outputs):
        kernel = random.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        return {"dense": {"kernel": kernel, "bias": np.zeros(outputs)}}

    params = {"stem": layer(16, 8) | {"norm": {"scale": np.ones(8), "bias": np.zeros(8)}}, "classifier": layer(8, 7)}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def random_task(seed, size=40):
    random = np.random.default_rng((seed, 1))
    task = seed % 3
    x = random.normal(size=(size, 1, 4, 4)).astype(np.float32)
    return task, batch_of(x, random.choice(OUTPUTS[task], size), task)


def in_numpy(tree):
    return jax.tree.map(np.asarray, tree)


@functools.cache
def two_tasks(prior=1e-6, **arguments):
    """(state and parameters after the first task, and after the second, with 30 large steps in each)."""
    method, params = blip(prior=prior, **arguments), random_params(0)
    state, ends = method.init(start(params)), []
    step, begin = trainer(method, 1.0)
    for seed in (0, 1):
        task, batch = random_task(seed)
        opt_state = begin(params)
        for _ in range(30):
            params, opt_state = step(params, opt_state, state, batch)
        state = method.end_task(state, task_end(params, seed, [batch]))
        params = jax.jit(method.settle)(state, params)
        ends.append(in_numpy((state, params)))
    return ends


@jax.jit
def codes_of(state, params, leaves):
    limits = limits_of(protected(params, head=True), 1.0, 6.0)
    return {name: bit_alloc.codes(leaves[name], bits, limits[name].bound) for name, bits in state.bits.items()}


def frozen_codes(state, params, leaves):
    return in_numpy(codes_of(state, params, leaves))


@pytest.mark.parametrize("rounding", [True, False])
def test_frozen_bits_stay_through_a_later_task(rounding):
    (first, params), (second, later) = two_tasks(rounding=rounding)
    assert sum(int((bits > 0).sum()) for bits in first.bits.values()) > 20
    before, after = frozen_codes(first, params, named_leaves(params)), frozen_codes(first, params, named_leaves(later))
    moved = 0
    for name, codes in before.items():
        np.testing.assert_array_equal(after[name], codes, err_msg=name)
        assert np.all(second.bits[name] >= first.bits[name])
        moved += int((named_leaves(later)[name] != named_leaves(params)[name]).sum())
    assert moved > 20  # what gains bits learns; what gains none returns to its level


def test_frozen_bits_move_in_the_cell_of_the_original():
    (first, params), (_, later) = two_tasks(cell="full")
    before, after = frozen_codes(first, params, named_leaves(params)), frozen_codes(first, params, named_leaves(later))
    assert any(np.any(after[name] != codes) for name, codes in before.items())


def test_weights_without_bits_are_zero_or_kept():
    for zero_bits, expected in (("zero", True), ("keep", False)):
        state, params = two_tasks(prior=1e-4, zero_bits=zero_bits)[0]
        unfrozen = state.bits["stem/dense/kernel"] == 0
        assert 0 < int(unfrozen.sum()) < unfrozen.size
        values = named_leaves(params)["stem/dense/kernel"][unfrozen]
        assert np.all(values == 0) == expected


def test_without_rounding_a_task_ends_where_training_did():
    state, params = two_tasks(rounding=False)[0]
    limits = jax.jit(lambda p: limits_of(protected(p, head=True), 1.0, 6.0))(params)
    for name, bits in state.bits.items():
        rounded = jax.jit(bit_alloc.quantize_bits)(named_leaves(params)[name], bits, limits[name].bound)
        assert np.any(named_leaves(params)[name] != rounded)
    assert float(loss(params, random_task(0)[1])) < float(loss(two_tasks(prior=1e-4)[0][1], random_task(0)[1]))


def test_a_free_head_is_left_alone():
    state, params = two_tasks(head=False)[1]
    assert set(state.bits) == {"stem/dense/kernel", "stem/dense/bias"}
    assert set(two_tasks()[1][0].bits) == {*state.bits, "classifier/dense/kernel", "classifier/dense/bias"}
    kernel = named_leaves(params)["classifier/dense/kernel"]
    np.testing.assert_array_equal(
        kernel[:, OUTPUTS[2]], named_leaves(random_params(0))["classifier/dense/kernel"][:, 4:]
    )


def test_norms_learn_in_the_first_task_only():
    method, params = blip(), random_params(0)
    state = method.init(start(params))
    updates, opt_state = jax.tree.map(lambda leaf: np.full_like(leaf, 1e-3), params), method.constraint.init(params)
    update = jax.jit(lambda state: method.constraint.update(updates, opt_state, params, method_state=state)[0])
    for finished, moves in ((0, True), (1, False)):
        now = state._replace(task=jnp.array(finished, jnp.int32))
        given = in_numpy(update(now))
        assert np.all(given["stem"]["norm"]["scale"] != 0) == moves
        assert np.all(given["stem"]["norm"]["bias"] != 0) == moves
        assert np.any(given["stem"]["dense"]["kernel"] != 0)


def test_what_is_measured():
    state, params = two_tasks()[0]
    found = blip().measure(state, params)
    assert set(found) == set(state.bits)
    kernel = found["stem/dense/kernel"]
    assert (float(kernel["values"]), float(kernel["units"])) == (128, 8)
    np.testing.assert_allclose(kernel["bits"], np.mean(state.bits["stem/dense/kernel"]), rtol=1e-6)
    np.testing.assert_allclose(kernel["capacity"], kernel["bits"] / 20, rtol=1e-6)
    dead = np.all(np.asarray(named_leaves(params)["stem/dense/kernel"]) == 0, axis=0).sum()
    assert float(kernel["dead_units"]) == dead
    assert "units" not in found["stem/dense/bias"]


def test_memory_does_not_grow_with_the_tasks():
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(state)) for state, _ in two_tasks()]
    method = blip()
    assert sizes[0] == sizes[1] == sum(leaf.nbytes for leaf in jax.tree.leaves(method.init(start(random_params(0)))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": 0.0}, "method.args.prior=0.0 is not a finite number above 0"),
        ({"cell": "third"}, "cell='third' is unknown; choose from full, half"),
        ({"zero_bits": "drop"}, "method.args.zero_bits='drop' is unknown; choose from keep, zero"),
        ({"max_bits": 21}, "max_bits=21 is not a number of bits; choose from 1 to 20"),
        ({"fisher": "exact"}, "method.args.fisher='exact' is unknown"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(Refusal, match=message.replace(".", r"\.")):
        blip(**arguments)
