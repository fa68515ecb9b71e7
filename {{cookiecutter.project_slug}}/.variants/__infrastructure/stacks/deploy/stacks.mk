# Which of the environments is meant; each has a stack, a cluster and a file of parameters of its own.
export ENV := $(or $(ENV),staging)
export STACK := $(SERVICE)-$(ENV)
export BOOTSTRAP_STACK := $(SERVICE)-bootstrap
CLUSTER := $(CLUSTER)-$(ENV)
export FAMILY := $(STACK)
COMPOSE_FILES := compose.yaml
export LOG_GROUP := /ecs/$(STACK)
export PLATFORM
# Whether the image is in the registry.
export IMAGE_CHECK ?= deploy/image-pushed.sh

# A job's AWS CLI is of aws-cli.
export TOOLS ?=
# Where that installs one.
export PATH := $(CURDIR)/.aws-cli/bin:$(PATH)

.PHONY: aws-cli
aws-cli: ## Install an AWS CLI into .aws-cli, where the one here is missing or too old
	deploy/aws-cli.sh

.PHONY: bootstrap
bootstrap: account ## Make sure of the images' repository and the pipeline's role
	deploy/service-linked-role.sh
	$(PYTHON) deploy/stack.py bootstrap

.PHONY: diff
diff: account ## Show what deploy would change in ENV, and change nothing
	@$(PYTHON) deploy/stack.py diff

.PHONY: service-up
service-up: account bootstrap ## Make the service and what it needs, as deploy/service.yml says
	deploy/service-linked-role.sh
	$(PYTHON) deploy/stack.py deploy

.PHONY: service-release
service-release: account ## Run this image in place of the one before, and change nothing else
	$(PYTHON) deploy/stack.py release

.PHONY: ps
ps: account ## Show the service's tasks
	deploy/ps.sh

.PHONY: deploy
deploy: doctor bootstrap ecr-login docker-build docker-push image-scan service-up smoke url ## All of it: from nothing to a URL that answers; ENV=production for that environment

.PHONY: release
release: doctor ecr-login docker-build docker-push image-scan gate service-release smoke url ## Another image, from this commit, and nothing else

.PHONY: promote
promote: gate service-release smoke url ## Run the image of this commit, which is pushed

.PHONY: lint-templates
lint-templates: rehearsal/.venv/.complete ## Check the templates of CloudFormation
	rehearsal/.venv/bin/cfn-lint deploy/batch.yml deploy/bootstrap.yml deploy/service.yml

lint: lint-templates
