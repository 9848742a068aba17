"""Images and task files, as `lifeq-jax data` writes them: the functions behind its commands, by the commands' names.

Example:
    >>> root, csv = folder / "digits", folder / "digits_025"
    >>> sorted(lq.tasks.prepare(root, "digits").images.items())
    [('test', 359), ('train', 1438)]
    >>> lq.tasks.lifelong(root, csv, num_tasks=3, diminish_rate=0.25).images["test"]
    (216, 216, 287)
    >>> lq.tasks.replay(csv, num_tasks=3, rate=0.2)
    (172, 172, 230)
"""

from lifeq_jax.data.inspect import describe
from lifeq_jax.data.lifelong import make_domains, make_lifelong
from lifeq_jax.data.long_tail import long_tail_of_folders, long_tail_of_tasks
from lifeq_jax.data.prepare import prepare
from lifeq_jax.data.replay import make_replay
from lifeq_jax.data.sequences import make_sequence
from lifeq_jax.data.start import moments

domains = make_domains
inspect = describe
lifelong = make_lifelong
longtail = long_tail_of_folders
longtail_tasks = long_tail_of_tasks
replay = make_replay
sequence = make_sequence

__all__ = ["domains", "inspect", "lifelong", "longtail", "longtail_tasks", "moments", "prepare", "replay", "sequence"]
