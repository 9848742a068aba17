"""The network of a run, opened: its numbers are those that training evaluated, and a trace ends where training did."""

import numpy as np
import pytest

import lifeq_jax as lq
from lifeq_jax.core.tree import named_leaves
from lifeq_jax.quant.base import dequantize
from lifeq_jax.train.build import complete
from tests.train.jobs import world_of

KERNEL = "stem/dense/kernel"


@pytest.fixture(scope="module")
def net(folder):
    return lq.trained(folder)


def test_outputs_are_those_that_were_scored(net, folder):
    run = lq.read(folder).finished[0]
    for task, accuracy in enumerate(run.matrix[-1]):
        right = images = 0
        for batch in net.batches(task):
            hit = np.argmax(net.outputs(batch.image).logits, axis=-1) == batch.label
            right, images = right + float((hit * batch.weight).sum()), images + float(batch.weight.sum())
        assert right / images == pytest.approx(accuracy, abs=1e-6)


def test_training_images_are_those_of_the_task(net, recipe):
    rows = world_of(recipe).tasks[1].train
    labels = np.concatenate([batch.label[batch.weight > 0] for batch in net.batches(1, of="train")])
    np.testing.assert_array_equal(labels, rows.label)


def test_codes_are_the_weights_that_the_network_computes_with(net):
    weights = named_leaves(net.weights)
    assert list(net.codes) == [KERNEL]
    np.testing.assert_array_equal(dequantize(net.codes[KERNEL]), weights[KERNEL])
    assert (np.asarray(weights[KERNEL]) != named_leaves(net.params)[KERNEL]).any()
    assert len(np.unique(net.codes[KERNEL].values)) <= 16


def test_every_stage_has_its_bits(folder):
    bits = {stage: lq.trained(folder, stage).bits["stem/dense"].weight for stage in ("float", "w8a8", "w4a4")}
    assert bits == {"float": 32, "w8a8": 8, "w4a4": 4}
    assert lq.trained(folder, "float").codes == {}


def test_activations_are_what_the_layers_give(net):
    image = next(net.batches()).image
    found = net.activations(image)
    assert len(np.unique(found["stem/act"])) <= 16 and (found["stem/act"] >= 0).any()
    np.testing.assert_allclose(np.maximum(found["stem/act"], 0), net.outputs(image).feature, rtol=1e-6)


def test_a_run_of_a_table_opens_too(folder):
    assert lq.trained(lq.read(folder).finished[0], "w8a8").stage.name == "w8a8"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda folder: lq.trained(folder, "w2a2"), "has no stage 'w2a2'; choose from float, w8a8, w4a4"),
        (lambda folder: lq.trained(folder / "none"), "none/config.json does not exist"),
        (lambda folder: next(lq.trained(folder).batches(2)), "task=2 is not a task of the run; choose from 0 to 1"),
        (lambda folder: lq.trace(folder, {"stem/kernel": [0]}, 1), f"weights='stem/kernel' is unknown; .* {KERNEL}"),
        (lambda folder: lq.trace(folder, {KERNEL: [512]}, 1), "512 is no place in it; choose from 0 to 511"),
        (lambda folder: lq.trace(folder, {KERNEL: [0]}, 99), "steps=99 is out of range; task 0 of stage w4a4 has"),
        (lambda folder: lq.trace(folder, {KERNEL: [0]}, 1, "w2"), "stage='w2' is unknown; choose from float"),
    ],
)
def test_what_is_not_there_is_refused(folder, call, text):
    with pytest.raises(lq.Refusal, match=text):
        call(folder)


def test_a_trace_ends_where_the_run_did(folder, recipe):
    steps = world_of(complete(recipe)).steps(0)
    places = [0, 100, 511]
    found = lq.trace(folder, {KERNEL: places}, steps, stage="w8a8")[KERNEL]
    after = lq.trained(folder, "w8a8")
    np.testing.assert_array_equal(found.latent[-1], np.ravel(named_leaves(after.params)[KERNEL])[places])
    np.testing.assert_array_equal(found.codes[-1], np.ravel(after.codes[KERNEL].values)[places])
    assert found.latent.shape == found.codes.shape == (steps, 3)
    assert (np.diff(found.latent, axis=0) != 0).any(axis=0).all()


def test_a_trace_of_the_first_steps_is_the_beginning_of_a_longer_one(folder):
    short, long = (lq.trace(folder, {KERNEL: [3, 4]}, steps)[KERNEL] for steps in (2, 5))
    for name in ("latent", "position", "codes"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:2])
    assert (np.abs(long.position - long.codes) <= 0.5 + 1e-5).all()


def test_a_trace_is_drawn_weight_by_weight(folder):
    found = lq.trace(folder, {KERNEL: [3, 4]}, 4)[KERNEL]
    (figure,) = found.plot().figures.values()
    assert len(figure.axes) == 2
    *_, integer, latent = figure.axes[1].lines
    np.testing.assert_array_equal(integer.get_ydata(), found.codes[:, 1])
    np.testing.assert_array_equal(latent.get_ydata(), found.position[:, 1])
    assert [axes.get_ylabel() for axes in figure.axes] == ["weight 3", "weight 4"]
