# make quickstart  installs everything, trains a 4-bit lifelong network on scikit-learn's digits, exports it; three minutes on 2 free cores
# make test        installs everything and runs formatting, lint, types and all tests (its parts: lint, types, wheel, docs)
# make docs        site/: this documentation as a site, with pages of every recipe key, method, loss, quantizer and result
# make fuzz        made-up inputs for MINUTES (20): CSV files, recipes, command lines, images; prints how many were tried
# make notebooks   runs all notebooks with their own settings, with outputs and docs/figures; ten minutes on 2 free cores
# make kills       kills runs of every method KILLS (100) times, resumes them and compares with unbroken ones, bit for bit
# make ablation    results/ablation_digits: every method on digits, five seeds; about an hour on 2 cores
# make benchmark   results/lqcl: every method on five sequences, settings searched; many hours on 2 cores (docs/benchmark.md)
# make cifar10     results/cifar10_ll: a short chain on CIFAR-10 (images under data/cifar10); an hour on 2 cores
# make budgets     results/equal_budgets: ClimbQ, BLIP and LifeQuant at the budgets of short runs of the originals; some hours on 2 cores
# make real-budgets results/real_budgets: the same systems at their own budgets, one run each; some ten hours on 2 cores
# make climbq      results/climbq_*: quantizers and losses on long tails; two hours on 2 cores
# make blip        results/blip_mnist: BLIP and its baselines on MNIST (images under data/mnist); an hour on 2 cores
# make games       results/blip_minatar and blip_atari: agents that learn games (installs extra rl); some three hours on 2 cores
# make oscillations results/oscillations_cifar10: LSQ, dampening, freezing; two hours on 2 cores

PYTHON ?= python3
VENV := .venv
# images of containers often forbid it: every process then compiles what it imports anew, three seconds for JAX and Flax
export PYTHONDONTWRITEBYTECODE :=
# without --no-compile a third of the time goes into bytecode, most of it of modules that are never imported
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
LIFEQ := $(VENV)/bin/lifeq-jax
DIGITS := --csv data/digits_025/digits --tasks 3
RECIPE := lifequant/resnet20_digits
RUN := runs/lifequant_resnet20_digits/seed0

.PHONY: quickstart test lint types wheel docs fuzz kills notebooks ablation benchmark budgets real-budgets cifar10 oscillations climbq blip games clean

quickstart: $(VENV)/installed
	$(LIFEQ) data prepare --root data/digits
	$(LIFEQ) data lifelong --root data/digits $(DIGITS) --diminish-rate 25
	$(LIFEQ) data replay $(DIGITS) --rate 20
	$(LIFEQ) data count $(DIGITS)
	$(LIFEQ) train $(RECIPE) --run $(RUN)
	$(LIFEQ) report $(RUN)
	$(LIFEQ) export $(RUN)

test: $(VENV)/installed-dev
	$(MAKE) --jobs=2 lint types wheel docs
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal
	LIFEQ_TEST_XLA=default $(VENV)/bin/python -m pytest -n 2 --dist loadfile -m exact `grep -rl mark.exact tests --include="test_*.py"`

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff format --check lifeq_jax benchmarks docs examples tests notebooks
	$(VENV)/bin/ruff check lifeq_jax benchmarks docs examples tests notebooks

types: $(VENV)/installed-dev
	$(VENV)/bin/mypy

wheel: $(VENV)/installed-dev
	$(VENV)/bin/python -m build --quiet --no-isolation --wheel --outdir .cache/dist

# dead links and pages that cannot be made fail; the variables keep advertisements of the tools silent
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(VENV)/bin/mkdocs build --quiet --strict
	@echo site/index.html

MINUTES ?= 20

fuzz: $(VENV)/installed-dev
	FUZZ_MINUTES=$(MINUTES) $(VENV)/bin/python -m pytest tests/fuzz -n 0

notebooks: $(VENV)/installed-dev
	for script in notebooks/*.py; do \
	  $(VENV)/bin/jupytext --quiet --to ipynb $$script && \
	  TQDM_DISABLE=1 $(VENV)/bin/jupyter-execute --inplace --timeout=1200 $${script%.py}.ipynb || exit 1; \
	done

KILLS ?= 100

kills: $(VENV)/installed-dev
	$(VENV)/bin/python -m tests.kills --kills $(KILLS)

ablation: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/ablation_digits.sh

benchmark: $(VENV)/installed
	$(PIP) -e '.[search]'
	$(VENV)/bin/python -m benchmarks lqcl

budgets: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/equal_budgets.sh

real-budgets: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/real_budgets.sh

cifar10: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/cifar10_ll.sh

oscillations: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/oscillations_cifar10.sh

climbq: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/climbq_cifar10_lt.sh
	LIFEQ=$(LIFEQ) results/climbq_digits_lifelong.sh

blip: $(VENV)/installed
	LIFEQ=$(LIFEQ) results/blip_mnist.sh
	STEP=ablation LIFEQ=$(LIFEQ) results/blip_mnist.sh
	STEP=growth LIFEQ=$(LIFEQ) results/blip_mnist.sh
	LIFEQ=$(LIFEQ) results/blip_cifar10_pairs.sh

games: $(VENV)/installed
	$(PIP) -e '.[rl]'
	LIFEQ=$(LIFEQ) results/blip_minatar.sh
	LIFEQ=$(LIFEQ) results/blip_atari.sh

clean:
	rm -rf $(VENV) .cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python requirements.txt pyproject.toml
	$(PIP) -e '.[export]'
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python requirements.txt pyproject.toml
	$(PIP) -e '.[dev]'
	touch $(VENV)/installed $@
