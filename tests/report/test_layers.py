"""layers.csv comes back layer by layer, its numbers by hand, and a damaged one is refused in one line."""

import dataclasses

import numpy as np
import pytest

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.report.layers import MEANINGS, at_end, frozen_bits, read_layers
from lifeq_jax.report.runs import read_run
from tests.report.folders import LAYER_BITS, LAYER_HEADER, add_layers, recipe, rewrite, write_run


@pytest.fixture
def layers(tmp_path):
    return read_run(add_layers(write_run(tmp_path / "run"))).layers


def test_reads_the_last_stage(layers):
    assert list(layers) == [0, 1, 2]
    for task, measured in layers.items():
        assert measured.keys() == LAYER_BITS.keys()
        for name, (values, bits, units, dead) in LAYER_BITS.items():
            expected = {"bits": bits[task], "capacity": bits[task] / 20, "values": values}
            assert measured[name] == expected | ({"units": units, "dead_units": dead[task]} if units else {})


def test_a_run_that_measured_nothing_has_no_layers(tmp_path):
    folder = write_run(tmp_path / "run")
    assert read_run(folder).layers == {}
    (folder / "layers.csv").write_text(f"{LAYER_HEADER}\n")
    assert read_run(folder).layers == {}


def test_a_stage_of_fewer_tasks_leaves_the_others_out(tmp_path):
    path = add_layers(write_run(tmp_path / "run")) / "layers.csv"
    layers = read_layers(path, dataclasses.replace(recipe(), stages=recipe().stages[:1]), 1)
    assert list(layers) == [0] and layers[0]["stem/dense/kernel"]["bits"] == 6


def test_at_end_by_hand(layers):
    end = at_end(layers)
    assert end.keys() == MEANINGS.keys()
    np.testing.assert_allclose(list(end.values()), [126 / 420, 1 / 5])


def test_at_end_of_a_run_without_is_nan():
    assert at_end({}).keys() == MEANINGS.keys() and np.isnan(list(at_end({}).values())).all()


def test_bits_of_kernels_most_at_the_end_first(layers):
    bits = frozen_bits([layers])
    assert list(bits) == ["blocks_0/dense", "stem/dense"]
    np.testing.assert_array_equal(list(bits.values()), [[1, 3, 8], [2, 4, 6]])


def test_bits_are_means_over_the_runs_of_what_all_have(tmp_path, layers):
    folder = add_layers(write_run(tmp_path / "other"), more=1)
    renamed = {"blocks_0/dense/kernel": "blocks_1/dense/kernel"}
    rewrite(folder / "layers.csv", lambda row: row | {"layer": renamed.get(row["layer"], row["layer"])})
    bits = frozen_bits([layers, read_run(folder).layers])
    assert list(bits) == ["stem/dense"]
    np.testing.assert_array_equal(bits["stem/dense"], [2.5, 4.5, 6.5])


WHOLE = {"bits": "1", "capacity": "0.05", "values": "4", "units": "2", "dead_units": "1"}


def rows_of(after=0, layer="a/kernel", stage="four", **changed):
    """Rows of one layer, WHOLE but for `changed`; None: not there."""
    found = {name: value for name, value in (WHOLE | changed).items() if value is not None}
    return "".join(f"{stage},{after},{layer},{name},{value}\n" for name, value in found.items())


def test_other_quantities_are_passed_over(tmp_path):
    (tmp_path / "layers.csv").write_text(f"{LAYER_HEADER}\n{rows_of(drift='-2.5')}")
    assert at_end(read_layers(tmp_path / "layers.csv", recipe(), 1)) == {"capacity": 0.05, "dead_units": 0.5}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("stage,after,layer,value\n", f": the header is stage,after,layer,value; it must be {LAYER_HEADER}"),
        (f"{LAYER_HEADER}\n{rows_of()}four,1\n", ", row 6: 2 values under 5 headings"),
        (f"{LAYER_HEADER}\n{rows_of(after='x')}", ", row 1: after='x' is not a whole number"),
        (f"{LAYER_HEADER}\n{rows_of(bits='few')}", ", row 1: bits of a/kernel, value='few' is not a number"),
        (f"{LAYER_HEADER}\n{rows_of(drift='nan')}", ", row 6: drift of a/kernel, value='nan' is not finite"),
        (
            f"{LAYER_HEADER}\n{rows_of(capacity='1.5')}",
            ", row 2: capacity of a/kernel, value='1.5' is out of range; it must be from 0 to 1",
        ),
        (
            f"{LAYER_HEADER}\n{rows_of(units='0')}",
            ", row 4: units of a/kernel, value='0' is out of range; it must be 1 or more",
        ),
        (f"{LAYER_HEADER}\n{rows_of()}", " lacks rows of stage four after task 1"),
        (f"{LAYER_HEADER}\n{rows_of(stage='float')}", " lacks rows of stage four after task 0"),
        (f"{LAYER_HEADER}\n{rows_of()}{rows_of(1, values=None)}", " lacks values of a/kernel after task 1"),
        (f"{LAYER_HEADER}\n{rows_of()}{rows_of(1)}{rows_of(1, 'b/kernel')}", " lacks bits of b/kernel after task 0"),
        (
            f"{LAYER_HEADER}\n{rows_of()}{rows_of(layer='b/bias')}{rows_of(1)}",
            " lacks bits of b/kernel after task 0",
        ),
        (f"{LAYER_HEADER}\n{rows_of(dead_units=None)}{rows_of(1)}", " lacks dead_units of a/kernel after task 0"),
        (
            f"{LAYER_HEADER}\n{rows_of()}{rows_of(1, dead_units='3')}",
            ": dead_units=3 of a/kernel after task 1 is more than units=2",
        ),
    ],
)
def test_refuses(tmp_path, text, line):
    path = tmp_path / "layers.csv"
    path.write_text(text)
    with pytest.raises(Refusal) as refused:
        read_layers(path, recipe(), 2)
    assert str(refused.value) == f"{path}{line}"
