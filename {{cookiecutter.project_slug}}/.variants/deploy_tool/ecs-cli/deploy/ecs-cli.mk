export ECS_CLI ?= $(or $(wildcard bin/ecs-cli),ecs-cli)
export ECS_CLI_VERSION := 1.21.0
export ECS_CLI_URL ?= https://amazon-ecs-cli.s3.amazonaws.com
# Of Amazon ECS <ecs-security@amazon.com>, which signs the releases.
export ECS_CLI_KEY ?= F34C3DDAE72926B079BEAEC6BCE9D9A42D51784F
export ECS_CLI_KEYSERVER ?= https://keyserver.ubuntu.com
# Which of the environments is meant: production bears the project's name, staging a name beside it.
export ENV := $(or $(ENV),production)
ifeq ($(ENV),staging)
CLUSTER := $(CLUSTER)-staging
SERVICE := $(SERVICE)-staging
else ifneq ($(ENV),production)
$(error ENV is staging or production, not $(ENV))
endif
export FAMILY := $(SERVICE)
# ecs-cli would ask the global endpoint for the pipeline's token, which not every region accepts.
export AWS_STS_REGIONAL_ENDPOINTS := regional
# The ARN of a policy that bounds the rights of the task's roles, where your account demands one.
export PERMISSIONS_BOUNDARY ?=
COMPOSE_FILES := docker-compose.yml compose.override.yaml
export LOG_GROUP := /ecs/$(SERVICE)

.PHONY: ecs-cli
ecs-cli: ## Install ecs-cli into bin/, its signature checked
	deploy/ecs-cli-install.sh

.PHONY: ecr-create
ecr-create: account ## Create the ECR repository, unless it is there
	deploy/ecr-create.sh

.PHONY: ecs-configure
ecs-configure: ## Tell ecs-cli the cluster, the region and Fargate
	@command -v $(ECS_CLI) >/dev/null || { echo "ecs-cli is not installed: make ecs-cli" >&2; exit 1; }
	$(ECS_CLI) configure --config-name $(SERVICE) --cluster $(CLUSTER) --region $(AWS_REGION) \
		--default-launch-type FARGATE

.PHONY: iam-policy
iam-policy: ## Print the IAM policy that whoever deploys needs; FOR=release: the pipeline, FOR=batch: for jobs of AWS Batch
	@deploy/iam-policy.sh

.PHONY: iam-role
iam-role: account ## Create the roles of the task from ecs-trust-policy.json
	deploy/iam-role.sh

.PHONY: log-group
log-group: account ## Create the service's log group, unless it is there
	deploy/log-group.sh

.PHONY: cluster-up
cluster-up: account ## Create the cluster and its network, unless they are there
	deploy/cluster-up.sh

.PHONY: security-group
security-group: account ## Open the service's port to ALLOWED_CIDR, and nothing else
	deploy/security-group.sh

.PHONY: service-up
service-up: account ## Run this image as the service and wait until it does
	deploy/service-up.sh

.PHONY: ps
ps: account ## Show the service's tasks and their addresses
	deploy/ps.sh

.PHONY: deploy
deploy: doctor ecr-create ecr-login docker-build docker-push image-scan ecs-configure iam-role log-group cluster-up security-group service-up smoke url ## All of it: from nothing to a URL that answers; harmless to repeat

.PHONY: release
release: doctor ecr-login docker-build docker-push image-scan gate ecs-configure service-up smoke url ## Another image, from this commit, and nothing else

.PHONY: promote
promote: gate ecs-configure service-up smoke url ## Run the image of this commit, which is pushed
