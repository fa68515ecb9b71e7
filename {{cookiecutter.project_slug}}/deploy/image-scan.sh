#!/usr/bin/env bash
# Fail if ECR's scan of the image finds a vulnerability of SCAN_SEVERITIES that is not accepted.
set -euo pipefail
. deploy/common.sh
SCAN_SEVERITIES=$(in_a_line <<<"$SCAN_SEVERITIES")
for severity in $SCAN_SEVERITIES; do
  case $severity in
    CRITICAL | HIGH | MEDIUM | LOW) ;;
    *) fail "SCAN_SEVERITIES must be some of CRITICAL HIGH MEDIUM LOW, separated by spaces, not '$SCAN_SEVERITIES'" ;;
  esac
done
if [ -z "$SCAN_SEVERITIES" ]; then
  say "SCAN_SEVERITIES is empty, so the scan is skipped"
  exit 0
fi
say "waiting for ECR's scan of $IMAGE_TAG"

findings() {
  aws ecr describe-image-scan-findings --repository-name "$ECR_REPOSITORY" --image-id "imageTag=$IMAGE_TAG" \
    --output text --query "$@" 2>&1
}

ids=$(accepted)
until=$((SECONDS + 600))
while true; do
  # The first scan of an image begins some seconds after the push. A response without findings has no pages, either.
  if answer=$(findings 'imageScanStatus.[status, description]' --no-paginate); then
    read -r state description <<<"${answer##*$'\n'}"
  elif [[ $answer == *ScanNotFoundException* ]]; then
    state=PENDING
  elif [[ $answer == *ImageNotFoundException* ]]; then
    fail "$IMAGE is not in ECR: run 'make docker-push' first"
  else
    fail "could not query ECR ($(in_a_line <<<"$answer"))"
  fi
  case $state in
    COMPLETE | ACTIVE) break ;;
    PENDING | IN_PROGRESS)
      [ "$SECONDS" -lt "$until" ] || fail "ECR has not scanned $IMAGE_TAG in 10 minutes ($(in_a_line <<<"$answer"))"
      sleep "${POLL_SECONDS:-3}"
      ;;
    *) fail "ECR cannot scan this image: $state $description; 'make SCAN_SEVERITIES= ...' skips the scan" ;;
  esac
done

found=$(findings 'imageScanFindings.[findings[].[name, severity, uri],
  enhancedFindings[].[packageVulnerabilityDetails.vulnerabilityId, severity,
    packageVulnerabilityDetails.sourceUrl]][]') || fail "could not query ECR ($(in_a_line <<<"$found"))"
serious=0
while read -r id severity link; do
  [ -n "$severity" ] || continue
  case " $SCAN_SEVERITIES " in
    *" $severity "*)
      if ! grep -qxF -e "$id" <<<"$ids"; then
        say "$severity $id $link" >&2
        serious=$((serious + 1))
      fi
      ;;
  esac
done < <(sort -u <<<"$found")
[ "$serious" -eq 0 ] || fail "the image has $serious such vulnerabilities: build it on a newer base image" \
  "(a new commit, or a newer digest in the Dockerfile), or accept them for a limited time in deploy/accepted-vulnerabilities.txt"
say "ECR's scan found no unaccepted vulnerability of severity $SCAN_SEVERITIES"
