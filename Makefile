# make demo    count events here and now; needs Python >= 3.11 and nothing else
# make check   lint, types and the unit tests, without servers; a minute on two cores
# make test    everything that can be tested on this machine
# make fmt     format, and mend what the linter can
# make docs    write the tables that the code defines into the pages
# make package build and install the package as a release does, beside a user's own consumer.py
# make dist    the source distribution and the wheel, in dist/
# make hooks   run `make fmt` and `make check` before each commit and push, by pre-commit
# make lock    take changes of pyproject.toml into locks/; ARGS=--upgrade takes the newest of all
# make site    build the site of the documentation into site/
# make chaos   the fault campaign: ROUNDS=20 FAULTS=all SEED=random BACKEND=embedded|real|cluster
#              PROTOCOL=classic GUARANTEE=exactly-once REPORT=file.json
# make bench   every workload beside raw consume() and other systems, half an hour on two cores
#              (Java 17, Maven); ARGS=--quick tries it, ARGS=--help says what else it can
# make image   dynatomic:local and dynatomic:VERSION, and its parts as dist/dynatomic.cdx.json

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo check test fmt docs site package dist hooks workflows lock lint chaos bench image clean

ROUNDS ?= 20
BACKEND ?= embedded
PROTOCOL ?= classic
GUARANTEE ?= exactly-once

help:
	@sed -n '1,/^$$/s/^# //p' Makefile

demo: $(VENV)/.installed
	@$(BIN)/dynatomic demo
	@echo 'next, to use the command: export PATH="$$PWD/$(BIN):$$PATH"'

test: $(VENV)/.developing lint
	@$(BIN)/python -m pytest --numprocesses 4 --cov --cov-report=term

check: $(VENV)/.developing lint
	@$(BIN)/python -m pytest tests/unit --numprocesses 3

fmt: $(VENV)/.developing
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.developing
	@$(BIN)/python docs/generate.py

site: $(VENV)/.developing
	@$(BIN)/python docs/site.py site

package: $(VENV)/.developing
	@$(BIN)/python -m pytest tests/deploy/test_package.py

dist: $(VENV)/.developing
	@$(BIN)/python -m build --no-isolation --outdir dist .

workflows: $(VENV)/.developing
	@$(BIN)/python -m pytest tests/deploy/test_workflows.py

hooks: $(VENV)/.developing
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --group hooks
	@$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

# One resolution for every Python from 3.11 on; the image gets the versions that the tests ran with.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock' $(ARGS)
lock: $(VENV)/.made
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --group lock
	@$(LOCK) pyproject.toml --extra embedded --extra msk --extra registry --group dev --output-file locks/dev.txt
	@$(LOCK) pyproject.toml --extra msk --extra registry --constraints locks/dev.txt --output-file locks/image.txt
	@$(LOCK) --group image --constraints locks/dev.txt --output-file locks/image-tools.txt

lint: $(VENV)/.developing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python docs/generate.py --check

chaos: $(VENV)/.developing
	@$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --backend $(BACKEND) --protocol $(PROTOCOL) \
		--guarantee $(GUARANTEE) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(REPORT),--report $(REPORT))

bench: $(VENV)/.developing
	@$(BIN)/python -m bench --keep .servers/bench $(ARGS)

# DOCKER_BUILD takes further options of docker build, such as --network=host.
image:
	@version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) && mkdir -p dist \
		&& docker build $(DOCKER_BUILD) --file deploy/Dockerfile --build-arg VERSION=$$version \
			--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
			--tag dynatomic:local --tag dynatomic:$$version . \
		&& docker run --rm --entrypoint cat dynatomic:local \
			/usr/share/doc/dynatomic/dynatomic.cdx.json > dist/dynatomic.cdx.json

clean:
	rm -rf $(VENV) .import_linter_cache .servers .peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: make PYTHON=python3.11"; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo "installing dynatomic"
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --editable '.[embedded]'
	@touch $@

$(VENV)/.developing: $(VENV)/.installed locks/dev.txt
	@echo "installing the tools of the tests"
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes \
		--requirement locks/dev.txt
	@touch $@
