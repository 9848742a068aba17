"""Bit allocation: by hand, against the original program, and the claim that frozen bits stay for ever."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.quant.bit_alloc import (
    BIAS_BOUND,
    MARGIN,
    capacity,
    clip,
    codes,
    dead_units,
    freeze_codes,
    grow,
    information_gain,
    layer_constants,
    quantize_bits,
    update_fisher,
)
from tests import vectors
from tests.torch_layout import under

QUANTIZED = list(vectors.cases("blip_quantize"))
LAYERS = vectors.document("blip_layer_constants")["rows"]
SIZE = 4096
BOUNDS = [1.0, 0.8660254, 1.999, 0.0757614, 3.8490018, 1e-6]
SEEDS = st.integers(0, 10**6)
C = 0.5 / np.log(2)


close = partial(vectors.close, share=1e-6)
jit_codes, jit_gain, jit_fisher, jit_capacity = map(jax.jit, (codes, information_gain, update_fisher, capacity))
jit_grow = jax.jit(grow, static_argnames="max_bits")
jit_clip = jax.jit(clip, static_argnames=("cell", "max_bits"))
jit_settle = jax.jit(freeze_codes, static_argnames=("cell", "max_bits", "zero_bits"))
jit_quantize = jax.jit(quantize_bits, static_argnames=("levels", "zero_bits"))


@partial(jax.jit, static_argnames="levels")
def quantize_and_vjp(x, bits, bound, cotangent, levels="exact"):
    y, pullback = jax.vjp(lambda a: quantize_bits(a, bits, bound, levels=levels), x)
    return y, pullback(cotangent)[0]


@partial(jax.jit, static_argnames="max_bits")
def after_task(bits, fisher, old, task, max_bits):
    """(gain, grown bits, new Fisher information)."""
    gain = information_gain(fisher, old, task)
    return gain, grow(bits, gain, max_bits), update_fisher(old, fisher, task)


def bits_of(*bits):
    return np.asarray(bits, np.int32)


def zeros(size):
    return np.zeros(size, np.float32)


def no_bits(size):
    return np.zeros(size, np.int32)


def recorded(file, case):
    """(the arrays of a golden case, its arguments)."""
    return under(vectors.arrays(file), f"{case}_"), vectors.cases(file)[case]


def leaf_cases(file):
    """(case, leaf) of every weight and every bias."""
    return [(case, leaf) for case, args in vectors.cases(file).items() for leaf in ("w", "b")[: 1 + args["has_bias"]]]


def tie_margin(x, bits, bound):
    """Distance of x to the nearest change of code, in steps, in float64."""
    return np.abs(np.abs(np.float64(x) / bound * 2.0**bits) % 1 - 0.5)


def clear_of_ties(margin, bits, bound):
    """Where float32, with 24 bits below the bound, cannot round to another code; x / bound is exact at a power of 2."""
    return (margin > 2.0 ** (bits - 22)) | (np.frexp(bound)[0] == 0.5)


@pytest.mark.parametrize("case", QUANTIZED)
def test_quantize_is_the_original(case):
    g, args = recorded("blip_quantize", case)
    bound, x, bits, out = args["bound"], g["x"], g["bits"], g["out"]
    assert bound == g["bound"]
    y, gx = jax.device_get(quantize_and_vjp(x, bits, bound, g["gout"], levels="open"))
    clear = clear_of_ties(g["tie_margin"], bits, bound)
    assert clear.mean() > 0.8
    np.testing.assert_allclose(y[clear], out[clear], rtol=1e-5)
    assert np.all(np.abs(y - out) <= 1.2 * bound * 0.5**bits)  # at most the next level, in float32
    np.testing.assert_array_equal(gx, g["gin"])


@pytest.mark.parametrize("case", QUANTIZED)
def test_exact_levels_differ_from_the_original_at_the_bound_only(case):
    g, args = recorded("blip_quantize", case)
    bound, x, bits, out = args["bound"], g["x"], g["bits"], g["out"]
    y, gx = jax.device_get(quantize_and_vjp(x, bits, bound, g["gout"]))
    inside = np.abs(x) < bound * (1 - 0.5 ** (bits + 1.0))
    clear = clear_of_ties(g["tie_margin"], bits, bound)
    assert (~inside).any()
    np.testing.assert_allclose(y[inside & clear], out[inside & clear], rtol=1e-5)
    top = np.where(bits == 0, 0, bound * (1 - 0.5**bits))
    np.testing.assert_allclose(np.abs(y[~inside & clear]), top[~inside & clear], rtol=1e-5)
    np.testing.assert_array_equal(gx, g["gin"])


@pytest.mark.parametrize(("case", "leaf"), leaf_cases("blip_update_bits"))
def test_growth_of_bits_is_the_original(case, leaf):
    g, args = recorded("blip_update_bits", case)
    bits = g[f"bits_{leaf}0"]
    close(g[f"F{leaf}_old_in"][0], np.full(bits.shape, args["layer_F_prior"]))
    for task in range(args["tasks"]):
        fisher, old, exact = g[f"F{leaf}"][task], g[f"F{leaf}_old_in"][task], g[f"ig_{leaf}_64"][task]
        expected = g[f"bits_{leaf}"][task]
        gain = np.asarray(jit_gain(fisher, old, task)) * np.float32(args["C"] / C)
        grown, all_grown = jax.device_get((jit_grow(bits, gain, args["max_bit"]), jit_grow(0 * expected, gain, 99)))
        np.testing.assert_allclose(gain, exact, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gain, g[f"ig_{leaf}"][task], rtol=1e-5, atol=1e-6)
        sure = np.abs(exact - np.round(exact)) > 1e-5
        np.testing.assert_array_equal(grown[sure], expected[sure])
        np.testing.assert_array_equal(all_grown[sure], g[f"grow_{leaf}"][task][sure])
        np.testing.assert_allclose(jit_fisher(old, fisher, task), g[f"F{leaf}_old_out"][task], rtol=1e-5)
        bits = expected


@pytest.mark.parametrize(("case", "leaf"), leaf_cases("blip_sync_clip_sequence"))
def test_a_sequence_of_tasks_is_the_original(case, leaf):
    g, args = recorded("blip_sync_clip_sequence", case)
    x, max_bits, bound = g[f"{leaf}0"], args["max_bit"], args["bound"] if leaf == "w" else BIAS_BOUND
    anchor, bits, old = np.zeros_like(x), np.zeros(x.shape, np.int32), np.full(x.shape, args["layer_F_prior"])
    full = {"cell": "full", "max_bits": max_bits}
    for task, steps in enumerate(g[f"d{leaf}"]):
        for step, move in enumerate(steps):
            moved = x + move
            x = g[f"{leaf}_clip"][task, step]  # from here on their rounding
            close(jit_clip(moved, anchor, bits, bound, **full), x)
        fisher, grown, synced = (g[key][task] for key in (f"F{leaf}", f"bits_{leaf}", f"{leaf}_sync"))
        gain, found, mean = jax.device_get(after_task(bits, fisher, old, task, max_bits))
        sure = np.abs(gain - np.round(gain)) > 1e-5
        np.testing.assert_array_equal(found[sure], grown[sure])
        settled = np.asarray(jit_settle(x, anchor, bits, grown, bound, **full))
        clear = clear_of_ties(tie_margin(x, grown, bound), grown, bound)
        close(settled[clear], synced[clear])
        np.testing.assert_array_equal(g[f"prev_{leaf}"][task], synced)
        close(mean, g[f"F{leaf}_old"][task])
        x, anchor, bits, old = synced, synced, grown, g[f"F{leaf}_old"][task]


@pytest.mark.parametrize("row", LAYERS, ids=lambda row: f"{row['variant']}-{row['kind']}-{row['ctor_dims'][0]}")
def test_layer_constants_are_the_original(row):
    out, *rest = row["weight_shape"]
    args = {"ic": {}, "mini": {"reach": 20.0}, "rl": {"widest": True}}[row["variant"]]
    found = layer_constants((*rest[1:], rest[0], out), row["ctor_kwargs"]["F_prior"], **args)
    np.testing.assert_allclose(found, (row["bound"], row["F_prior"]), rtol=1e-12)


@pytest.mark.parametrize("case", [case for case, args in vectors.cases("blip_metrics").items() if "max_bit" in args])
def test_capacity_is_the_original(case):
    g, args = recorded("blip_metrics", case)
    found = capacity({"kernel": g["bits_w"].T, "bias": g["bits_b"]}, args["max_bit"])
    np.testing.assert_allclose(found, g["capacity"], rtol=1e-5)


def test_quantize_by_hand():
    # bound 2: half of it at 1 bit, quarters at 2 bits with 3/4 at most; ties to even codes; 0 bits are 0
    x, bits = jnp.asarray([0.6, 0.4, 1.9, -5.0, 0.25, 0.75, 1.3]), bits_of(1, 1, 2, 2, 2, 2, 0)
    np.testing.assert_array_equal(codes(x, bits, 2.0), [1, 0, 3, -3, 0, 2, 0])
    np.testing.assert_allclose(quantize_bits(x, bits, 2.0), [1.0, 0.0, 1.5, -1.5, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(quantize_bits(x, bits, 2.0, zero_bits="keep"), [1.0, 0.0, 1.5, -1.5, 0.0, 1.0, 1.3])
    np.testing.assert_allclose(quantize_bits(x, bits, 2.0, levels="open"), [1.0, 0.0, 2.0, -5.0, 0.0, 1.0, 0.0])


def test_cells_by_hand():
    # bound 1, 2 bits, level 1/4: from 1/8 to 3/8, in the original from 0 to 1/2; 1/2 is the top level of 1 bit
    x = np.linspace(-1.5, 1.5, 5, dtype=np.float32)
    for bits, level, low, high in [
        (2, 0.25, 0.125, 0.375),
        (1, 0.5, 0.25, 1.0),
        (0, 0.3, -1.0, 1.0),
        (1, 0.0, -0.25, 0.25),
    ]:
        anchor, bits = np.full(5, level, np.float32), np.full(5, bits, np.int32)
        np.testing.assert_allclose(jit_clip(x, anchor, bits, 1.0), np.clip(x, low, high), atol=1e-6)
    full = jit_clip(x, np.full(5, 0.25, np.float32), np.full(5, 2, np.int32), 1.0, cell="full")
    np.testing.assert_allclose(full, np.clip(x, 0.0, 0.5), atol=1e-6)
    np.testing.assert_allclose(jit_clip(x, zeros(5), no_bits(5), 1.0, max_bits=2), np.clip(x, -0.75, 0.75))


def test_an_edge_is_settled_on_the_anchors_side_by_hand():
    # 1 bit, level 1/2: its cell begins at 1/4, a level of 2 bits. The original steps onto it, and its 1-bit code is 0.
    anchor, one, two, bound = np.float32([0.5]), bits_of(1), bits_of(2), 1.0
    x = jit_clip(np.float32([-1.0]), anchor, one, bound)
    full = jit_settle(x, anchor, one, two, bound, cell="full")
    assert (full.item(), jit_codes(full, one, bound).item()) == (0.25, 0)
    half = jit_settle(x, anchor, one, two, bound)
    assert 0.25 < half.item() < 0.2501
    assert (jit_codes(half, one, bound).item(), jit_codes(half, two, bound).item()) == (1, 1)
    np.testing.assert_array_equal(jit_clip(np.float32([-1.0]), half, two, bound), half)
    np.testing.assert_allclose(jit_clip(np.float32([1.0]), half, two, bound), 0.375, atol=1e-6)


def test_gain_by_hand():
    # after task 0 the mean of two has 2 F; after task 2 (F + 3 F_old) / (4 F_old) = 4 at F = 13 F_old
    assert information_gain(jnp.float32(31.0), jnp.float32(1.0), 0) == 2.0
    np.testing.assert_allclose(information_gain(jnp.float32(13.0), jnp.float32(1.0), 2), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(
        grow(bits_of(0, 3, 18, 5, 5), jnp.asarray([0.0, 1.2, 7.0, -3.0, jnp.inf])), [0, 5, 20, 5, 20]
    )
    assert update_fisher(jnp.float32(4.0), jnp.float32(8.0), 2) == 5.0


def test_no_news_grows_no_bits():
    fisher = np.float32(np.random.default_rng(0).lognormal(-30, 5, 1000))
    for task in range(20):
        assert not np.any(jit_grow(no_bits(1000), jit_gain(fisher, fisher, task)))


def test_gain_is_accurate_in_float32():
    rng = np.random.default_rng(0)
    old = np.float32(rng.lognormal(-30, 3, 20000))
    fisher = np.float32(old * (1 + np.concatenate([rng.normal(0, 1e-4, 10000), rng.lognormal(0, 9, 10000)])))
    for task in (0, 1, 19):
        exact = C * np.log1p((np.float64(fisher) - old) / (np.float64(old) * (task + 2)))
        found = information_gain(fisher, old, task)
        np.testing.assert_allclose(found[10000:], exact[10000:], rtol=1e-5)
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-7)


def test_capacity_and_dead_units_by_hand():
    assert capacity({"a": bits_of(20, 10), "b": bits_of(0, 0, 5)}) == jnp.float32(35 / 100)
    assert capacity({"a": bits_of(4, 1)}, max_bits=4) == 5 / 8
    kernel = jnp.asarray([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    np.testing.assert_array_equal(dead_units(kernel), [True, False, False])
    np.testing.assert_array_equal(dead_units(jnp.stack([kernel[None], 0 * kernel[None]])), [True, False, False])


@pytest.mark.parametrize(
    "call",
    [
        lambda x, bits: quantize_bits(x, bits, 1.0, zero_bits="drop"),
        lambda x, bits: quantize_bits(x, bits, 1.0, levels="closed"),
        lambda x, bits: clip(x, x, bits, 1.0, cell="whole"),
        lambda x, bits: clip(x, x, bits, 1.0, max_bits=21),
        lambda x, bits: freeze_codes(x, x, bits, bits, 1.0, cell="none"),
    ],
)
def test_refusals(call):
    with pytest.raises(Refusal, match="choose from"):
        call(zeros(2), no_bits(2))


def draw(seed, bound):
    """(x, anchor, bits): anywhere, on levels, on and beside edges, and at the ends of the range."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 21, SIZE)
    level = np.round(rng.uniform(-1, 1, SIZE) * 2.0**bits) / 2.0**bits
    edge = (np.floor(rng.uniform(-1, 1, SIZE) * 2.0**bits) + 0.5) / 2.0**bits
    near = edge + rng.choice([-2, -1, 1, 2], SIZE) * MARGIN
    anywhere, end = rng.uniform(-1, 1, SIZE), rng.choice([-1.0, 1.0], SIZE) * (1 - 2.0**-20)
    kinds = rng.integers(0, 5, (2, SIZE))
    x, anchor = (np.choose(kind, [level, edge, near, anywhere, end]) for kind in kinds)
    return np.float32(bound * x), np.float32(bound * anchor), np.int32(bits)


@settings(max_examples=60)
@given(seed=SEEDS, bound=st.sampled_from(BOUNDS))
def test_clip_keeps_the_anchors_code(seed, bound):
    x, anchor, bits = draw(seed, bound)
    for push in (0.0, 1e-7, 0.3, 1e30):
        moved = x + bound * push * np.sign(x)
        clipped = jit_clip(moved, anchor, bits, bound)
        np.testing.assert_array_equal(jit_codes(clipped, bits, bound), jit_codes(anchor, bits, bound))
        np.testing.assert_array_equal(jit_clip(clipped, anchor, bits, bound), clipped)
        assert np.abs(clipped).max() <= bound * (1 - 2.0**-21)
        # the margin and the nearest float are all that is lost: clear of it, what had the code already stays
        same = np.asarray(jit_codes(moved, bits, bound)) == jit_codes(anchor, bits, bound)
        lost = np.abs(np.asarray(clipped) - np.clip(moved, -bound, bound))[same]
        beside = np.abs(np.asarray(anchor) - bound * np.round(np.float64(anchor) / bound * 2.0**bits) / 2.0**bits)
        plain = (beside[same] < 0.2 * MARGIN * bound) | (beside[same] > 2.5 * MARGIN * bound)
        assert lost[plain].max(initial=0) <= 4.5 * MARGIN * bound


@settings(max_examples=40)
@given(seed=SEEDS, bound=st.sampled_from(BOUNDS), rounding=st.booleans())
def test_frozen_bits_stay_for_ever(seed, bound, rounding):
    """Eight tasks: the codes that each froze, at its number of bits, are there after all later ones."""
    rng = np.random.default_rng(seed)
    x, anchor, bits = np.float32(rng.normal(0, bound / 3, SIZE)), zeros(SIZE), no_bits(SIZE)
    frozen = []
    for _ in range(8):
        for _ in range(2):
            far = bound * rng.choice([1e-6, 0.01, 1.0, 100.0], SIZE) * rng.choice([-1, 1], SIZE)
            x = jit_clip(np.float32(x + far), anchor, bits, bound)
        gain = rng.choice([-0.5, 0.0, 0.5, 1.5, 2.5, 6.5, 20.0], SIZE, p=[0.2, 0.2, 0.3, 0.14, 0.1, 0.05, 0.01])
        grown = jit_grow(bits, np.float32(gain))
        anchor = jit_settle(x, anchor, bits, grown, bound)
        bits = grown
        x = anchor if rounding else jit_clip(x, anchor, bits, bound)
        frozen.append((bits, jit_codes(anchor, bits, bound)))
        for then, code in frozen:
            np.testing.assert_array_equal(jit_codes(x, then, bound), code)
    assert len(np.unique(bits)) > 10


def sequence_of_edges(cell):
    """How often weights that always run to the edge of their cell have another code, after growth by one bit each."""
    x = anchor = np.linspace(-0.9, 0.9, 1001, dtype=np.float32)
    bits, changed = no_bits(1001), 0
    for _ in range(10):
        grown = bits + 1
        x = anchor = np.asarray(jit_settle(x, anchor, bits, grown, 1.0, cell=cell))
        x = jit_clip(x + 1, anchor, grown, 1.0, cell=cell)
        changed += np.sum(np.asarray(jit_codes(x, grown, 1.0)) != jit_codes(anchor, grown, 1.0))
        bits = grown
    return changed


def test_the_full_cell_changes_frozen_codes_and_the_half_cell_none():
    assert sequence_of_edges("half") == 0
    assert sequence_of_edges("full") > 5000


@settings(max_examples=20)
@given(seed=SEEDS, bound=st.sampled_from(BOUNDS))
def test_settled_weights_are_near(seed, bound):
    """Rounding moves no weight by more than half a step of its new bits, or to the top level, and a margin."""
    rng = np.random.default_rng(seed)
    _, anchor, bits = draw(seed, bound)
    anchor = jit_quantize(anchor, bits, bound)
    x = np.asarray(jit_clip(np.float32(rng.uniform(-bound, bound, SIZE)), anchor, bits, bound))
    grown = np.minimum(bits + np.int32(rng.integers(0, 4, SIZE)), 20)
    settled = np.asarray(jit_settle(x, anchor, bits, grown, bound))
    inside = (grown > 0) & (np.abs(x) < bound * (1 - 1.5 * 0.5**grown))
    moved = np.abs(settled - x) / bound
    assert np.all((moved <= 0.5 ** (grown + 1.0) + 1.5 * MARGIN)[inside])
    assert np.all(settled[grown == 0] == 0)


@pytest.mark.parametrize("cell", ["half", "full"])
def test_zero_bits_by_name(cell):
    x, none = np.float32([0.3, -0.2]), no_bits(2)
    np.testing.assert_array_equal(jit_settle(x, zeros(2), none, none, 1.0, cell=cell), [0.0, 0.0])
    np.testing.assert_array_equal(jit_settle(x, zeros(2), none, none, 1.0, cell=cell, zero_bits="keep"), x)


def test_jit_is_eager():
    x, anchor, bits = draw(3, 0.75)
    np.testing.assert_array_equal(jit_codes(x, bits, 0.75), codes(x, bits, 0.75))
    np.testing.assert_array_equal(jit_clip(x, anchor, bits, 0.75), clip(x, anchor, bits, 0.75))
    grown = jnp.minimum(bits + 2, 20)
    np.testing.assert_array_equal(jit_settle(x, anchor, bits, grown, 0.75), freeze_codes(x, anchor, bits, grown, 0.75))
