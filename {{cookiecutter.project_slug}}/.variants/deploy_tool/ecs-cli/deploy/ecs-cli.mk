export ECS_CLI ?= $(or $(wildcard bin/ecs-cli),ecs-cli)
export ECS_CLI_VERSION := 1.21.0
export ECS_CLI_URL ?= https://amazon-ecs-cli.s3.amazonaws.com
# The key of Amazon ECS <ecs-security@amazon.com>, which signs the releases.
export ECS_CLI_KEY ?= F34C3DDAE72926B079BEAEC6BCE9D9A42D51784F
export ECS_CLI_KEYSERVER ?= https://keyserver.ubuntu.com
# The environment: production has the project's name, staging the same name with a suffix.
export ENV := $(or $(ENV),production)
ifeq ($(ENV),staging)
CLUSTER := $(CLUSTER)-staging
SERVICE := $(SERVICE)-staging
endif
export FAMILY := $(SERVICE)
# ecs-cli would request the pipeline's token from the global endpoint, and not every region accepts such a token.
export AWS_STS_REGIONAL_ENDPOINTS := regional
# The ARN of a permissions boundary for the task's roles, if your account requires one.
export PERMISSIONS_BOUNDARY ?=
COMPOSE_FILES := docker-compose.yml compose.override.yaml
export LOG_GROUP := /ecs/$(SERVICE)

.PHONY: ecs-cli
ecs-cli: ## Install ecs-cli into bin/, after verifying its signature
	deploy/ecs-cli-install.sh

.PHONY: ecr-create
ecr-create: account ## Create the ECR repository, unless it exists
	deploy/ecr-create.sh

.PHONY: ecs-configure
ecs-configure: ## Configure ecs-cli for the cluster, the region and Fargate
	@command -v $(ECS_CLI) >/dev/null || { echo "ecs-cli is not installed: make ecs-cli" >&2; exit 1; }
	$(ECS_CLI) configure --config-name $(SERVICE) --cluster $(CLUSTER) --region $(AWS_REGION) \
		--default-launch-type FARGATE

.PHONY: iam-policy
iam-policy: ## Print the IAM policy for deploying; FOR=release: for the pipeline, FOR=batch: for jobs of AWS Batch
	@deploy/iam-policy.sh

.PHONY: iam-role
iam-role: account ## Create the roles of the task; the one of the service gets deploy/task-policy.json
	deploy/iam-role.sh

.PHONY: log-group
log-group: account ## Create the service's log group, unless it exists
	deploy/log-group.sh

.PHONY: cluster-up
cluster-up: account ## Create the cluster and its network, unless they exist
	deploy/cluster-up.sh

.PHONY: security-group
security-group: account ## Open the service's port to ALLOWED_CIDR, and nothing else
	deploy/security-group.sh

.PHONY: service-up
service-up: account ## Run this image as the service and wait until it is running
	deploy/service-up.sh

.PHONY: ps
ps: account ## Show the cluster's tasks and their addresses
	deploy/ps.sh

.PHONY: deploy
deploy: doctor ecr-create ecr-login docker-build docker-push image-scan ecs-configure iam-role log-group cluster-up security-group service-up smoke url ## Run all steps, from nothing to a URL that responds; safe to repeat

.PHONY: release
release: doctor ecr-login docker-build docker-push image-scan gate ecs-configure service-up smoke url ## Release the image of this commit, and change nothing else

.PHONY: promote
promote: gate ecs-configure service-up smoke url ## Release the pushed image of this commit
