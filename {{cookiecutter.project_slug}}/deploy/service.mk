.PHONY: smoke
smoke: ## Ask the deployed service for a prediction
	deploy/smoke.sh

.PHONY: url
url: ## Print the address of the service
	@deploy/url.sh

.PHONY: logs
logs: ## Follow the service's logs
	deploy/logs.sh

.PHONY: scale
scale: ## Run N tasks: make scale N=3
	deploy/scale.sh

.PHONY: rollback
rollback: ## Go back to the release before the current one
	deploy/rollback.sh

.PHONY: destroy
destroy: ## Delete everything that deploy made
	deploy/destroy.sh
