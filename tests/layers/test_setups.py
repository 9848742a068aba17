import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.layers.setups import ROLES, SETUPS, quantizers
from lifeq_jax.quant import QUANTIZERS

# Bits of first, inner, depthwise, last, classifier, sum, last_sum at 3-bit weights and 4-bit activations, written out.
EXPECTED = {
    "convolutions": ("norm", (3, 3, 3, 3, 32, 3, 3), (4, 4, 4, 4, 32, 32, 32)),
    "LSQ_paper": ("input", (8, 3, 3, 3, 8, 3, 3), (32, 4, 4, 4, 8, 32, 32)),
    "LSQ": ("output", (8, 3, 3, 3, 8, 3, 3), (4, 4, 4, 8, 32, 4, 8)),
    "all": ("output", (3, 3, 3, 3, 3, 3, 3), (4, 4, 4, 4, 4, 4, 4)),
    "FP_logits": ("output", (3, 3, 3, 3, 3, 3, 3), (4, 4, 4, 4, 32, 4, 4)),
    "fc4": ("output", (8, 3, 3, 3, 4, 3, 3), (4, 4, 4, 4, 4, 4, 4)),
    "fc4_dw8": ("output", (8, 3, 8, 3, 4, 3, 3), (4, 4, 4, 4, 4, 4, 4)),
}


def of(setup, weight_bits, act_bits):
    return quantizers(setup, QUANTIZERS["minmax"], QUANTIZERS["activation"], weight_bits, act_bits)


def bits(of_role):
    return tuple(of_role(role).bits for role in ROLES)


def test_every_setup_has_its_row():
    assert EXPECTED.keys() == SETUPS.keys()


@pytest.mark.parametrize("setup", sorted(SETUPS))
def test_bits_of_every_role(setup):
    found = of(setup, 3, 4)
    assert (found.position, bits(found.weight), bits(found.activation)) == EXPECTED[setup]


@pytest.mark.parametrize("setup", sorted(SETUPS))
def test_at_32_bits_no_role_is_quantized(setup):
    floating = (32,) * len(ROLES)
    assert bits(of(setup, 32, 4).weight) == bits(of(setup, 3, 32).activation) == floating
    assert bits(of(setup, 32, 4).activation) == EXPECTED[setup][2]
    assert bits(of(setup, 3, 32).weight) == EXPECTED[setup][1]


def test_an_unknown_setup_is_refused():
    with pytest.raises(
        Refusal, match="recipe.quant_setup='lsq' is unknown; choose from FP_logits, LSQ, LSQ_paper, all"
    ):
        of("lsq", 4, 4)
