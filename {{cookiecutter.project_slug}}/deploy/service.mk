.PHONY: smoke
smoke: account ## Ask the deployed service for a prediction
	deploy/smoke.sh

.PHONY: gate
gate: account ## Stop if the image's model is worse than the running one, or answers differently; MODEL_GATE=off skips this
	deploy/gate.sh

.PHONY: url
url: account ## Print the address of the service
	@deploy/url.sh

.PHONY: cost
cost: ## Estimate the monthly cost of the service
	@deploy/cost.sh

.PHONY: logs
logs: account ## Follow the service's logs
	deploy/logs.sh

.PHONY: batch-aws
batch-aws: account ## Score files in S3 with a one-off task, or N jobs: IN=s3://bucket/rows/ OUT=s3://bucket/scores/ PARTS=N CPU=1024 MEMORY=2048
	@deploy/batch-aws.sh "$$IN" "$$OUT"

.PHONY: scale
scale: account ## Run N tasks, with autoscaling at least N: make scale N=3
	deploy/scale.sh

.PHONY: releases
releases: account ## List the releases of ENV: time, author, commit, model, metrics, and which one is running
	@deploy/releases.sh

.PHONY: rollback
rollback: account ## Go back to the release before the current one
	deploy/rollback.sh

.PHONY: destroy
destroy: account ## Delete everything that deploy created
	deploy/destroy.sh
