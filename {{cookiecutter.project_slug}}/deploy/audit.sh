#!/usr/bin/env bash
# Check the requirements of training and serving for known vulnerabilities, with the given pip-audit.
set -euo pipefail
. deploy/common.sh
say "checking the packages in requirements.txt and requirements/train.txt with $AUDIT_URL"

ids=$(accepted)
# shellcheck disable=SC2046,SC2086 # one word per id
"$1" --requirement requirements.txt --requirement requirements/train.txt --disable-pip --progress-spinner off \
  --vulnerability-service osv --osv-url "$AUDIT_URL" ${ids:+$(printf ' --ignore-vuln %s' $ids)} ||
  fail "found vulnerabilities, or got no response, see above: 'make lock UPGRADE=--upgrade' pins newer versions," \
    "and deploy/accepted-vulnerabilities.txt accepts one for a limited time"
