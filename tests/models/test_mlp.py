import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.setups import quantizers
from lifeq_jax.models.loading import initialize, variable_shapes
from lifeq_jax.models.mlp import mlp
from lifeq_jax.quant import QUANTIZERS

FLOAT = quantizers("convolutions", QUANTIZERS["proxq"], QUANTIZERS["activation"], 32, 32)


def linear(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_is_its_layers(layers):
    model, generator = mlp(3, FLOAT, hidden=5, layers=layers), np.random.default_rng(0)
    shapes = variable_shapes(model, (2, 4, 2))
    variables = jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32), shapes)
    params, image = variables["params"], generator.normal(size=(3, 2, 4, 2)).astype(np.float32)
    expected = image.reshape(3, 16)
    for name in ["stem", *(f"dense_{index}" for index in range(layers - 1))]:
        expected = np.maximum(linear(params[name]["dense"], expected), 0)
    assert params.keys() == {"stem", "classifier", *(f"dense_{index}" for index in range(layers - 1))}
    for train in (False, True):
        np.testing.assert_allclose(model.apply(variables, image, train, method="features"), expected, rtol=1e-5)
        logits = model.apply(variables, image, train)
        np.testing.assert_allclose(logits, linear(params["classifier"]["dense"], expected), rtol=1e-5, atol=1e-5)


def test_defaults_are_the_originals():
    params = variable_shapes(mlp(10, FLOAT), (28, 28, 1))["params"]
    assert params["stem"]["dense"]["kernel"].shape == (784, 1200)
    assert params["classifier"]["dense"]["kernel"].shape == (1200, 10)
    assert params.keys() == {"stem", "classifier"}


def test_a_network_without_norm_has_no_statistics():
    assert initialize(mlp(3, FLOAT, hidden=4), 0, (4, 4, 1))["batch_stats"] == {}


@pytest.mark.parametrize(("name", "value"), [("hidden", 0), ("layers", 0), ("layers", -1)])
def test_nothing_to_train_is_refused(name, value):
    with pytest.raises(Refusal, match=f"recipe.model {name}={value} leaves nothing to train; choose a number from 1"):
        mlp(10, FLOAT, **{name: value})
