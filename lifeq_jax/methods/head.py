"""Which parameters of a network are its head: the last, linear layer, the module `classifier` of every model."""

HEAD = "classifier"


def is_head(name: str) -> bool:
    """Whether the leaf of that name belongs to the head, or to any head of several tasks."""
    return name.split("/")[0] == HEAD
