#!/usr/bin/env bash
# Delete what deploy created, in the order that AWS requires; skip what is already gone.
set -euo pipefail
. deploy/ecs-cli.sh
say "deleting $SERVICE from account $AWS_ACCOUNT_ID, region $AWS_REGION"

kept=
keep() {
  kept=yes
  say "kept $*"
}

# may_delete NAME OWNER WHAT: whether something exists and belongs to this service.
may_delete() {
  [ -n "$1" ] || return 1
  [ "$2" = "$SERVICE" ] || {
    keep "$3, which was not created by these steps"
    return 1
  }
}

[ "${FORCE:-}" = 1 ] || confirm "$SERVICE" \
  "Type the service's name, $SERVICE, to delete it with its logs, its cluster and images that nothing else needs"

delete_queue
name=$(service_fact serviceName)
if [ -n "$name" ]; then
  aws ecs update-service --cluster "$CLUSTER" --service "$SERVICE" --desired-count 0 >/dev/null
  aws ecs delete-service --cluster "$CLUSTER" --service "$SERVICE" >/dev/null
  say "waiting for the tasks to end ..."
  aws ecs wait services-inactive --cluster "$CLUSTER" --services "$SERVICE"
  say "deleted the service"
fi
revisions=$(list_revisions)
for revision in $revisions; do
  aws ecs deregister-task-definition --task-definition "$revision" >/dev/null
done

look_for_network
facts=$([ -z "$VPC" ] || security_group)
read -r group owner <<<"$facts"
may_delete "$group" "$owner" "security group $group" || group=
# The network interface of a task is deleted some seconds after the task.
for attempt in 1 2 3 4 5 6; do
  [ -n "$group" ] || break
  answer=$(aws ec2 delete-security-group --group-id "$group" 2>&1) && break
  [[ $answer == *DependencyViolation* ]] || fail "could not delete security group $group ($(in_a_line <<<"$answer"))"
  [ "$attempt" -lt 6 ] || fail "security group $group is still in use: try again in a minute"
  sleep 10
done

services=$(ask_aws ClusterNotFoundException ecs list-services --cluster "$CLUSTER" --query serviceArns)
tasks=$(ask_aws ClusterNotFoundException ecs list-tasks --cluster "$CLUSTER" --query taskArns)
made_by=$(cluster_fact "tags[?key=='created-by'].value | [0]")
if [ -n "$services$tasks" ]; then
  keep "cluster $CLUSTER and its network, because other services or tasks still run there:" \
    "$(xargs <<<"$services $tasks")"
elif stack_exists "$STACK" && [ "$made_by" != "$CLUSTER_MADE_BY" ]; then
  delete_stack "$STACK"
  say "deleted the network"
  keep "cluster $CLUSTER, which existed before"
elif stack_exists "$STACK"; then
  prepare_ecs_cli
  "$ECS_CLI" down --force --cluster "$CLUSTER" --region "$AWS_REGION"
  say "deleted the cluster and its network"
elif [ "$made_by" = "$CLUSTER_MADE_BY" ]; then
  delete "the cluster" aws ecs delete-cluster --cluster "$CLUSTER"
fi

other=${SERVICE%-staging}
[ "$ENV" = staging ] || other=$SERVICE-staging
found=$(ask_aws RepositoryNotFoundException ecr describe-repositories --repository-names "$ECR_REPOSITORY" \
  --query 'repositories[0].repositoryName')
others=$(FAMILY=$other list_revisions)
if [ -z "$found" ]; then
  say "there are no images"
elif ! created_repository; then
  keep "the images: 'make ecr-create' found repository $ECR_REPOSITORY, and did not create it"
elif [ -n "$others" ]; then
  keep "the images: $other needs them"
else
  delete "the images" aws ecr delete-repository --repository-name "$ECR_REPOSITORY" --force
fi
facts=$(log_facts)
read -r found _ owner <<<"$facts"
if may_delete "$found" "$owner" "the log $LOG_GROUP"; then
  delete "the log" aws logs delete-log-group --log-group-name "$LOG_GROUP"
fi
for role in "$SERVICE-execution" "$SERVICE-task"; do
  facts=$(role_facts "$role")
  read -r found owner <<<"$facts"
  if may_delete "$found" "$owner" "role $role"; then
    policy=pull-and-log
    [ "$role" = "$SERVICE-execution" ] || policy=service
    delete "the permissions of $role" aws iam delete-role-policy --role-name "$role" --policy-name "$policy"
    delete "role $role" aws iam delete-role --role-name "$role"
  fi
done
if [ -n "$kept" ]; then
  say "nothing else of $SERVICE is left: what was kept is listed above"
else
  say "nothing of $SERVICE is left"
fi
