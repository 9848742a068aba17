"""What needs 8 devices: a step of every method on all of them, uneven, against one device."""


def compare_methods() -> None:
    """Prints `method difference` for every method: the largest relative difference in the parameters after two steps,
    the second on a batch whose last 5 of 16 rows are padding."""
    import jax
    import numpy as np

    from lifeq_jax.core.config import Data, Part, Recipe, Stage
    from lifeq_jax.core.types import Batch
    from lifeq_jax.methods import METHODS
    from lifeq_jax.train.build import build_stage, complete
    from lifeq_jax.train.mesh import Devices, devices_for
    from lifeq_jax.train.stage import step_of
    from tests.train.jobs import state_of

    assert jax.device_count() == 8
    random = np.random.default_rng(0)

    def batch(weight: np.ndarray) -> Batch:
        label, task = random.integers(3, size=16).astype(np.int32), np.zeros(16, np.int32)
        image = random.normal(size=(16, 4, 4, 1)).astype(np.float32)
        alone = Batch(image, label, weight.astype(np.float32), task, task > 0, np.arange(16, dtype=np.int32))
        return jax.tree.map(lambda leaf: leaf[None], alone)

    batches = [batch(np.ones(16)), batch(np.arange(16) < 11)]
    data = Data("", "", 2, 3, (4, 4, 1), (4, 4), 0, False, (0.5,), (0.5,), batch_size=16)

    def trained(method: str, devices: Devices) -> np.ndarray:
        recipe = Recipe("r", data, Part("mlp", {"hidden": 8}), (Stage("s", 4, 4, 1, 0.1),), method=Part(method))
        recipe = complete(recipe)
        built = build_stage(recipe, recipe.stages[0], devices.axis_name)
        state, step = state_of(built, num_classes=3), step_of(built, devices.axis_name)

        def first(state, batches, seed):
            return step(state, jax.tree.map(lambda leaf: leaf[0], batches), jax.random.key(seed))

        compiled = devices.compile(first, split=1)
        state = devices.replicate(state)
        for part in batches:
            state, totals = compiled(state, devices.split(part), np.int32(0))
        assert float(totals.counts.total) == 11
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves((state.params, totals.loss))])

    for method in sorted(METHODS):
        wanted = trained(method, Devices())
        for parallel in ("pmap", "mesh"):
            ours = trained(method, devices_for(parallel, 16))
            print(method, parallel, np.max(np.abs(ours - wanted) / (np.abs(wanted) + 1e-3)))


if __name__ == "__main__":
    compare_methods()
