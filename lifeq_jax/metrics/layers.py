"""What a method has done to the layers of a network, over all of them."""

from collections.abc import Mapping

Measured = Mapping[str, Mapping[str, float]]  # layer -> quantity -> value, as a method's `measure` gives them


def whole_network(found: Measured) -> dict[str, float]:
    """capacity: the share of all values' bits that is frozen; dead_units: the share of units without incoming weights.

    Both 0..1; {} where nothing is measured. capacity is BLIP's (ImageClassification/src/utils.py, `used_capacity`)."""
    values = sum(layer["values"] for layer in found.values())
    units = sum(layer.get("units", 0.0) for layer in found.values())
    if not values:
        return {}
    frozen = sum(layer["capacity"] * layer["values"] for layer in found.values())
    dead = sum(layer.get("dead_units", 0.0) for layer in found.values())
    return {"capacity": frozen / values, "dead_units": dead / units}


def by_task(rows: list[dict[str, str]], stage: str) -> dict[int, dict[str, dict[str, float]]]:
    """The rows of a layers.csv as {finished task: {layer: {quantity: value}}}, those of one stage."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row["stage"] == stage:
            layers = found.setdefault(int(row["after"]), {})
            layers.setdefault(row["layer"], {})[row["quantity"]] = float(row["value"])
    return found
