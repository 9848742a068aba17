"""A method's measurements of single layers, summed up over the whole network."""

from collections.abc import Mapping

LayerMeasures = Mapping[str, Mapping[str, float]]  # layer -> quantity -> value, as a method's `measure` gives them


def whole_network(found: LayerMeasures) -> dict[str, float]:
    """capacity: the share of all values' bits that is frozen; dead_units: the share of units without incoming weights.

    Both 0..1; {} where nothing is measured. capacity is BLIP's (ImageClassification/src/utils.py, `used_capacity`)."""
    values = sum(layer["values"] for layer in found.values())
    units = sum(layer.get("units", 0.0) for layer in found.values())
    if not values:
        return {}
    frozen = sum(layer["capacity"] * layer["values"] for layer in found.values())
    dead = sum(layer.get("dead_units", 0.0) for layer in found.values())
    return {"capacity": frozen / values, "dead_units": dead / units}
