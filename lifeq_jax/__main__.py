"""python -m lifeq_jax: the same as the command lifeq-jax."""

import sys

from lifeq_jax.cli import main

sys.exit(main())
