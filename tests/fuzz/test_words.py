"""Keys and values on the command line."""

import dataclasses

from hypothesis import strategies as st

from lifeq_jax.cli_keys import override
from lifeq_jax.core.config import Checked, kind_of, read_recipe, to_json
from lifeq_jax.core.recipe_file import load_recipe
from lifeq_jax.core.refusal import Refusal
from lifeq_jax.train.build import complete
from tests.fuzz.targets import target, told

RECIPE = complete(load_recipe("lifequant/resnet20_digits"))


def keys_of(value, key=""):
    """All dotted keys of a record that hold no others."""
    if isinstance(value, Checked):
        inside = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    elif isinstance(value, dict):
        inside = value
    elif isinstance(value, tuple) and value and isinstance(value[0], Checked):
        inside = dict(enumerate(value))
    else:
        return [key]
    return [found for name, item in inside.items() for found in keys_of(item, f"{key}.{name}" if key else str(name))]


KEYS = keys_of(RECIPE)
VALUES = st.one_of(
    st.sampled_from(
        ["true", "False", "none", "[]", "1,2", "(3, 4)", "[0.5]", "1e-3", "1e999", "nan", "-1", "0", "8", "32"]
    ),
    st.sampled_from(
        ["float32", "proxq", "lsq", "finetune", "ewc", "cross_entropy", "cosine", "last", "--seed", "=", "--"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=6),
)
KEY = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(KEYS).map(lambda key: key.replace("_", "-")),
    st.tuples(st.sampled_from(KEYS), st.text("abz.-_019", max_size=3), st.integers(0, 30)).map(
        lambda made: made[0][: made[2]] + made[1]
    ),
)
SAID = st.lists(st.tuples(KEY, st.lists(VALUES, max_size=3), st.booleans()), min_size=1, max_size=3)


@target(said=SAID)
def test_words(said, tmp_path_factory):
    words = []
    for key, values, equals in said:
        words += [f"--{key}={values[0]}", *values[1:]] if equals and values else [f"--{key}", *values]
    try:
        recipe = override(RECIPE, words)
    except Refusal as refusal:
        told(refusal)
    else:
        path = tmp_path_factory.getbasetemp() / "words.json"
        path.write_text(to_json(recipe), encoding="utf-8")
        assert read_recipe(path) == recipe


@target(key=st.sampled_from(KEYS), spelling=st.sampled_from([",", " ", "[,]"]))
def test_present_values(key, spelling):
    """Every value of a recipe can be said again."""
    value = kind_of(RECIPE, key)[1]
    items = [
        repr(item) if isinstance(item, float) else str(item)
        for item in (value if isinstance(value, tuple) else (value,))
    ]
    if isinstance(value, tuple) and spelling != " ":
        items = [",".join(items)] if spelling == "," else [f"[{','.join(items)}]"]
    assert override(RECIPE, [f"--{key}", *items]) == RECIPE
