.PHONY: smoke
smoke: account ## Ask the deployed service for a prediction
	deploy/smoke.sh

.PHONY: gate
gate: account ## Stop where the image's model is worse than the one that runs, or answers otherwise; MODEL_GATE=off does not
	deploy/gate.sh

.PHONY: url
url: account ## Print the address of the service
	@deploy/url.sh

.PHONY: cost
cost: ## Estimate what the service costs a month
	@deploy/cost.sh

.PHONY: logs
logs: account ## Follow the service's logs
	deploy/logs.sh

.PHONY: batch-aws
batch-aws: account ## Score files in S3 by a task of its own, or N jobs: IN=s3://bucket/rows/ OUT=s3://bucket/scores/ PARTS=N CPU=1024 MEMORY=2048
	@deploy/batch-aws.sh "$$IN" "$$OUT"

.PHONY: scale
scale: account ## Run N tasks: make scale N=3
	deploy/scale.sh

.PHONY: releases
releases: account ## List the releases of ENV: when, by whom, commit, model and its metrics, which one runs
	@deploy/releases.sh

.PHONY: rollback
rollback: account ## Go back to the release before the current one
	deploy/rollback.sh

.PHONY: destroy
destroy: account ## Delete everything that deploy made
	deploy/destroy.sh
