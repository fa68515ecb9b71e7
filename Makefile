PYTHON ?= python3
BIN := .venv/bin
# Settings of Python in the caller's shell are for other programs.
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES)))

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(BIN)/.complete ## Bake a project, train, rehearse its deployment, serve, ask; Ctrl-C ends it
	$(BIN)/python scripts/demo.py

.PHONY: test
test: setup ## Run all tests
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder \
		$(PYTEST_ARGS)

.PHONY: test-fast
test-fast: setup ## Run the tests that install no project
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder -m 'not slow' $(PYTEST_ARGS)

.PHONY: lint
lint: setup ## Check the template's own code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/yamllint --strict .gitlab-ci.yml .github
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.renovate renovate.json
	$(BIN)/shellcheck .ci/*

.PHONY: screenshots
screenshots: setup ## Record the demo and take the pictures of the docs anew; needs Chromium
	$(BIN)/python scripts/record.py docs/pages/demo.svg
	SCREENSHOTS=$(CURDIR)/docs/pages $(BIN)/python -m pytest tests/test_page.py tests/test_watching.py -k pictures

.PHONY: bench
bench: setup ## Hold the generated service beside its peers, then bake, image and project; needs wrk
	$(BIN)/python bench/serving
	$(BIN)/python bench/watching.py
	$(BIN)/python bench/bake.py
	$(BIN)/python bench/project.py
	$(BIN)/python bench/image.py

.PHONY: lock
lock: setup ## Pin the newest versions, here and in the generated project
	$(BIN)/python scripts/lock.py
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-strip-extras --python-version=3.11 \
		--constraints='{{cookiecutter.project_slug}}/requirements/uv.txt' \
		--group=dev pyproject.toml --output-file=requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-strip-extras --python-version=3.11 \
		--constraints='{{cookiecutter.project_slug}}/.variants/model_framework/xgboost/requirements/dev.txt' \
		--constraints='{{cookiecutter.project_slug}}/.variants/model_framework/lightgbm/requirements/dev.txt' \
		tests/elsewhere/requirements.in --output-file=tests/elsewhere/requirements.txt

.PHONY: release
release: setup ## Tag what is unreleased: make release VERSION=0.2.0
	$(BIN)/python scripts/release.py "$(if $(findstring command,$(origin VERSION)),$(VERSION))"

.PHONY: setup
setup: $(BIN)/.complete tests/node_modules/.complete ## Install everything for development

$(BIN)/.complete: requirements-dev.txt
	$(PYTHON) '{{cookiecutter.project_slug}}/requirements/install.py' .venv $<
	@touch $@

tests/node_modules/.complete: tests/package-lock.json | $(BIN)/.complete
	@echo "Installing the packages of $< ..."
	@PATH="$(abspath $(BIN)):$$PATH" NODE_DISABLE_COMPILE_CACHE=1 \
		npm ci --prefix tests --cache .venv/npm --loglevel=error --no-audit --no-fund
	@touch $@
