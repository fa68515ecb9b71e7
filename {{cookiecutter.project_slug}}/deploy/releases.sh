#!/usr/bin/env bash
# List the last RELEASES of ENV, newest first: time, author, commit, model, metrics, and which one is running.
set -euo pipefail
. deploy/common.sh

runs=$(service_fact taskDefinition)
revisions=$(list_revisions)
[ -n "$revisions" ] || fail "there is no release yet: run 'make deploy ENV=$ENV' first"

printf '%-6s %-16s %-24s %-21s %-12s %s\n' '' released by commit model metrics
tr '\t' '\n' <<<"$revisions" | sort -t: -k7 -n -r | sed -n "1,${RELEASES:-10}p" | while read -r revision; do
  facts=$(ask_aws "$NEVER" ecs describe-task-definition --task-definition "$revision" --query "taskDefinition.[
    registeredAt, registeredBy, containerDefinitions[0].image, containerDefinitions[0].dockerLabels.\"ml.metrics\"]")
  IFS=$'\t' read -r at by image metrics <<<"$facts"
  # Version 1 of the AWS CLI prints seconds.
  [[ $at == *-* ]] || at=$("$PYTHON" -c "import datetime; print(datetime.datetime.fromtimestamp($at))")
  tag=${image##*:}
  case $tag in
    *-*) commit=${tag%-*} model=${tag##*-} ;;
    *) commit=$tag model="?" ;;
  esac
  [ "$revision" = "$runs" ] && state=runs || state=
  printf '%-6s %-16s %-24s %-21s %-12s %s\n' "$state" "${at:0:16}" "${by##*/}" "$commit" "$model" "${metrics/None/}"
done
