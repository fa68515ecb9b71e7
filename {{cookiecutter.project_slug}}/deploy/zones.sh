#!/usr/bin/env bash
# Print two zones of the region in which Fargate runs tasks, one per line.
set -euo pipefail
. deploy/common.sh

# By id, since zone names differ between accounts:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
WITHOUT_FARGATE="['use1-az3', 'usw1-az2', 'apne1-az3', 'cac1-az3', 'cac1-az4', 'cnn1-az3', 'cnn1-az4']"

zones=$(ask_aws "$NEVER" ec2 describe-availability-zones \
  --filters Name=zone-type,Values=availability-zone Name=state,Values=available \
  --query "AvailabilityZones[?!contains($WITHOUT_FARGATE, ZoneId)] | [:2].ZoneName")
read -r first second <<<"$zones"
[ -n "${second:-}" ] || fail "region $AWS_REGION has fewer than two zones with Fargate for this account: ${zones:-none}"
printf '%s\n' "$first" "$second"
