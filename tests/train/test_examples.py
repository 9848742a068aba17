"""The methods of examples/, as a user writes them, beside the rows of the package that do the same."""

from pathlib import Path

import numpy as np
import pytest

from lifeq_jax.core.config import Part, Stage
from lifeq_jax.train.build import complete, layer_bits
from lifeq_jax.train.run import run_recipe
from tests.train.jobs import silent
from tests.train.killed_runs import metrics

EXAMPLES = Path(__file__).parents[2] / "examples"
OF_THE_PACKAGE = {"er_ace": Part("er_ace", {"full": 0.0}), "derpp": Part("derpp", {"alpha": 0.2})}


@pytest.fixture(scope="module")
def losses_of(recipe, changed, digits, tmp_path_factory):
    """losses_of(method, loss) -> mean loss of the epoch of each of two tasks at 4 bits; each pair trains once."""
    low = Stage("w4a4", 4, 4, 1, 0.1, tasks=2)
    small = changed(recipe, {"csv": str(digits / "tasks")}, model=Part("mlp", {"hidden": 8}), stages=(low,))
    done = {}

    def trained(method, loss):
        if (method.name, loss) not in done:
            folder = tmp_path_factory.mktemp("run")
            run_recipe(changed(small, method=method, loss=Part(loss)), folder, silent)
            done[method.name, loss] = [float(row["loss"]) for row in metrics(folder)]
        return done[method.name, loss]

    return trained


@pytest.mark.parametrize("loss", ["ball_log_prior", "cross_entropy"])
@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_a_users_method_trains_as_the_packages(name, loss, losses_of):
    own = losses_of(Part(f"{EXAMPLES / name}.py:{name}"), loss)
    np.testing.assert_allclose(own, losses_of(OF_THE_PACKAGE[name], loss), rtol=1e-4)
    plain = losses_of(Part("finetune"), loss)
    assert (
        own[0] == pytest.approx(plain[0], rel=1e-4) and abs(own[1] - plain[1]) > 1e-3 * plain[1]
    )  # ten times what may differ above


def test_the_network_of_the_docs_has_the_bits_that_its_roles_say(recipe, changed):
    place = EXAMPLES / "small_cnn.py"
    assert f"```python\n{place.read_text()}```" in (EXAMPLES.parent / "docs/architecture.md").read_text()
    own = complete(changed(recipe, model=Part(f"{place}:small_cnn", {"width": 8}), quant_setup="LSQ_paper"))
    bits = {layer: weights for layer, (weights, _) in layer_bits(own, own.stages[-1]).items() if weights}
    assert bits == {"stem/conv": 8, "down/conv": 4, "classifier/dense": 8}


def test_they_are_short():
    assert all(len(path.read_text().splitlines()) <= 40 for path in EXAMPLES.glob("*.py"))
