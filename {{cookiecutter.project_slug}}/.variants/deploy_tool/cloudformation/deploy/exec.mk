.PHONY: exec
exec: account ## Open a shell in a task; Exec in deploy/ENV.json allows it
	deploy/exec.sh
