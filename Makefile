PYTHON ?= python3
BIN := .venv/bin
# Where no bytecode is written, every start that is timed compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## Bake a project, train, rehearse its deployment, serve, ask; Ctrl-C ends it
	$(BIN)/python scripts/demo.py

.PHONY: test
test: setup ## Run all tests; make test PYTEST_ARGS="-m 'not slow'" for the fast ones
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder \
		$(PYTEST_ARGS)

.PHONY: lint
lint: setup ## Check the template's own code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/yamllint --strict .gitlab-ci.yml .github
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.renovate renovate.json
	$(BIN)/shellcheck .ci/*

.PHONY: bench
bench: setup ## Hold the generated service beside its peers, then bake, image and project; needs wrk
	$(BIN)/python bench/serving
	$(BIN)/python bench/bake.py
	$(BIN)/python bench/project.py
	$(BIN)/python bench/image.py

.PHONY: lock
lock: setup ## Pin the newest versions, here and in the generated project
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --python-version=3.11 \
		--group=dev pyproject.toml --output-file=requirements-dev.txt
	$(BIN)/python scripts/lock.py

.PHONY: setup
setup: $(BIN)/.complete ## Install everything for development into .venv

$(BIN)/.complete: requirements-dev.txt tests/package-lock.json
	$(PYTHON) -m venv --clear .venv
	@echo "Installing the packages of $< ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@echo "Installing the packages of tests/package-lock.json ..."
	@PATH="$(abspath $(BIN)):$$PATH" npm ci --prefix tests --silent --no-audit --no-fund
	@touch $@
