# The environment; each has its own stack, cluster and parameter file.
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

# A job gets its AWS CLI from the target aws-cli.
export TOOLS ?=
# The folder where aws-cli installs it.
export PATH := $(CURDIR)/.aws-cli/bin:$(PATH)

.PHONY: aws-cli
aws-cli: ## Install an AWS CLI into .aws-cli, if there is none or it is too old
	deploy/aws-cli.sh

.PHONY: bootstrap
bootstrap: account ## Create the image repository and the pipeline's role, or update them
	deploy/service-linked-role.sh
	$(PYTHON) deploy/stack.py bootstrap

.PHONY: diff
diff: account ## Show what deploy would change in ENV, and change nothing
	@$(PYTHON) deploy/stack.py diff

.PHONY: service-up
service-up: account bootstrap ## Create or update the service and its resources from deploy/service.yml
	deploy/service-linked-role.sh
	$(PYTHON) deploy/stack.py deploy

.PHONY: configure
configure: account bootstrap ## Apply deploy/service.yml and the parameters of ENV, and keep the running image
	$(PYTHON) deploy/stack.py configure

.PHONY: service-release
service-release: account ## Run this image instead of the current one, and change nothing else
	$(PYTHON) deploy/stack.py release

.PHONY: ps
ps: account ## Show the service's tasks
	deploy/ps.sh

.PHONY: deploy
deploy: doctor bootstrap ecr-login docker-build docker-push image-scan service-up smoke url ## Run all steps, from nothing to a URL that responds; ENV=production for production

.PHONY: release
release: doctor ecr-login docker-build docker-push image-scan gate service-release smoke url ## Release the image of this commit, and change nothing else

.PHONY: promote
promote: gate service-release smoke url ## Release the pushed image of this commit

.PHONY: lint-templates
lint-templates: rehearsal/.venv/.complete ## Check the CloudFormation templates
	rehearsal/.venv/bin/cfn-lint deploy/batch.yml deploy/bootstrap.yml deploy/service.yml

lint: lint-templates
