#!/usr/bin/env bash
# Score files in S3 with the image of the running service: batch-aws.sh IN OUT. Runs a one-off task; with PARTS=N an array
# job of AWS Batch, whose N children share the files in IN, or the rows of a Parquet file. CPU and MEMORY override the
# size of the service's tasks. Stopping this script does not stop the task or the job.
set -euo pipefail
. deploy/common.sh

for url in "$1" "$2"; do
  case $url in
    s3://?*/?*) ;;
    *) fail "IN=s3://bucket/rows.csv OUT=s3://bucket/scores.csv: '$url' is not an s3:// URL" ;;
  esac
done
[[ ${PARTS:=1} =~ ^([1-9][0-9]{0,3}|10000)$ ]] || fail "PARTS=$PARTS must be a number from 1 to 10000"

require_service
service=$(aws ecs describe-services --cluster "$CLUSTER" --services "$SERVICE" --output json \
  --query "services[?status=='ACTIVE'] | [0]")
facts=$("$PYTHON" -c '
import json, sys
service = json.load(sys.stdin)
network = service["networkConfiguration"]["awsvpcConfiguration"]
print(service["taskDefinition"], ",".join(network["subnets"]), ",".join(network["securityGroups"]))
' <<<"$service")
read -r definition subnets groups <<<"$facts"
definition=$(aws ecs describe-task-definition --task-definition "$definition" --output json --query taskDefinition)

# Print the request document: inputs KIND ARGUMENT...
inputs() {
  printf '%s\0%s' "$service" "$definition" | "$PYTHON" deploy/batch_inputs.py "$@"
}

run_task() {
  local request answer task reason facts status code container lines shown=
  request=$(inputs task "$@")
  answer=$(aws ecs run-task --cli-input-json "$request" --output text \
    --query '[tasks[0].taskArn, failures[0].reason]')
  read -r task reason <<<"$answer"
  [ -n "${task/None/}" ] || fail "ECS started no task: $reason"
  say "task ${task##*/} scores $1"
  while true; do
    facts=$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" --output text \
      --query 'tasks[0].[lastStatus, containers[0].exitCode, containers[0].name, stoppedReason]')
    IFS=$'\t' read -r status code container reason <<<"$facts"
    lines=$(last_lines 5 "$task" "$container")
    if [ "$lines" != "$shown" ]; then
      shown=$lines
      echo "  ${lines//$'\n'/$'\n'  }"
    fi
    [ "$status" != STOPPED ] || break
    sleep "${POLL_SECONDS:-5}"
  done
  case $code in
    0) say "wrote $2" ;;
    1) fail "wrote $2, and $2.errors.csv, which lists the rows without an answer" ;;
    *) fail "the task ended with ${code/None/no exit code}: ${reason/None/}; can its role read IN and write OUT?" ;;
  esac
}

run_jobs() {
  local queue=$FAMILY-batch status request registered job facts said='' ended running failed left
  status=$(stack_status "$queue")
  case $status in
    # Such a stack cannot be updated.
    ROLLBACK_COMPLETE | *_FAILED) delete_queue ;;
  esac
  aws cloudformation deploy --stack-name "$queue" --template-file deploy/batch.yml --no-fail-on-empty-changeset \
    --tags "service=$SERVICE" --parameter-overrides "Subnets=$subnets" "SecurityGroups=$groups"
  request=$(inputs job "$@")
  registered=$(aws batch register-job-definition --cli-input-json "$request" --output text --query jobDefinitionArn)
  job=$(aws batch submit-job --job-name "$queue" --job-queue "$queue" --job-definition "$registered" \
    --array-properties "size=$PARTS" --output text --query jobId)
  say "job $job scores $1 in $PARTS parts"
  while true; do
    facts=$(aws batch describe-jobs --jobs "$job" --output text --query \
      "jobs[0].[status, arrayProperties.statusSummary.[SUCCEEDED, RUNNING, FAILED] | join(' ', map(&to_string(@), @))]")
    read -r status ended running failed <<<"${facts//null/0}"
    if [ "$facts" != "$said" ]; then
      said=$facts
      say "$ended of $PARTS parts are done, $running are running, $failed failed ..."
    fi
    case $status in SUCCEEDED | FAILED) break ;; esac
    sleep "${POLL_SECONDS:-10}"
  done
  if [ "$status" = SUCCEEDED ]; then
    say "wrote $2"
    return
  fi
  left=$(aws batch list-jobs --array-job-id "$job" --job-status FAILED --output text \
    --query "jobSummaryList[?container.exitCode!=\`1\`].[jobId, container.exitCode, statusReason]")
  [ -n "$left" ] || fail "wrote $2, and files that end with .errors.csv, which list the rows without an answer"
  fail "these parts are not done, see 'make logs'; can their role read IN and write OUT?
  ${left//$'\n'/$'\n'  }"
}

if [ "$PARTS" = 1 ]; then
  run_task "$1" "$2"
else
  run_jobs "$1" "$2" "$PARTS"
fi
