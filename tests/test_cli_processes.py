"""Which process has died, by the words with which JAX aborts the others."""

import pytest

from lifeq_jax.cli_processes import gone

BEGINNING = (
    "F1129 01:11:06.607977   32312 client.h:80] Terminating process because the JAX distributed service detected fatal "
    "errors. absl::Status: "
)
UNHEALTHY = (
    "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n1\n12\nThe tasks have crashed."
)
PARTING = (
    "INTERNAL: Shutdown barrier has failed.\nBarrier result: 'INTERNAL: Barrier failed because: task is set to ERROR: "
    "UNAVAILABLE: Task 1 heartbeat timeout. This indicates that the remote task has failed."
)
NOBODY = "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted/died/restarted"


@pytest.mark.parametrize(("said", "numbers"), [(UNHEALTHY, "1, 12"), (PARTING, "1"), (NOBODY, "0")])
def test_the_dead_process_is_named(said, numbers):
    assert gone(BEGINNING + said) == f"process {numbers} has died or was stopped"


def test_another_end_is_not_told_as_a_death():
    assert gone("Segmentation fault\n" + UNHEALTHY) is None
