# More targets used by .gitlab-ci.yml; they can also be run by hand.

# The database of known vulnerabilities: OSV, or a mirror of it.
export AUDIT_URL ?= https://api.osv.dev/v1/query
# Tools that a job needs besides Python, make and git.
export TOOLS ?= aws

ifdef AWS_ID_TOKEN
# An absolute path, so that every step finds a job's token, whatever folder it works in.
export AWS_WEB_IDENTITY_TOKEN_FILE := $(CURDIR)/.aws-id-token
endif

.PHONY: audit
audit: setup ## Look for known vulnerabilities in the packages that train and serve
	deploy/audit.sh $(BIN)/pip-audit

.PHONY: sbom
sbom: setup ## List the packages of the service in sbom.cdx.json (CycloneDX)
	$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file sbom.cdx.json requirements.txt

.PHONY: image
image: ecr-login docker-build docker-push image-scan sample ## Build, push and scan the image; record its tag and a sample response
	echo "IMAGE_TAG=$(IMAGE_TAG)" >image.env

.PHONY: sample
sample: ## Write a request and the image's answer to sample.txt; SAMPLE_COMMAND="cat sample.txt" reads it
	$(SAMPLE_COMMAND) >sample.txt

.PHONY: compare
compare: SAMPLE_COMMAND := $(BIN)/python -m inference.expected
compare: setup account ## Compare the trained model with the deployed one; fail if it is worse or answers differently
	deploy/compare.sh

.PHONY: retrain
retrain: ## Train again, then compare
	$(MAKE) train SOURCE_DATE_EPOCH=$(shell date +%s)
	$(MAKE) compare

.PHONY: ci-tools
ci-tools: ## Install those of TOOLS that a job's image lacks
	deploy/ci-tools.sh

.PHONY: pipeline-credentials
pipeline-credentials: ## Check a job's credentials
	deploy/pipeline-credentials.sh

.PHONY: environment-url
environment-url: account ## Write the service's address to service.env, for GitLab's environment
	url=$$(deploy/url.sh) && echo "SERVICE_URL=$$url" >service.env
