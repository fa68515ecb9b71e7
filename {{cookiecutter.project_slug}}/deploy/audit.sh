#!/usr/bin/env bash
# Check the requirements of training and serving for known vulnerabilities, with the given pip-audit.
set -euo pipefail
. deploy/common.sh
. deploy/vulnerabilities.sh
say "asking $AUDIT_URL about the packages of requirements.txt and requirements/train.txt"

ids=$(accepted)
# shellcheck disable=SC2046,SC2086 # a word for each id
"$1" --requirement requirements.txt --requirement requirements/train.txt --disable-pip --progress-spinner off \
  --vulnerability-service osv --osv-url "$AUDIT_URL" ${ids:+$(printf ' --ignore-vuln %s' $ids)} ||
  fail "there are vulnerabilities, or no answer, see above: 'make lock UPGRADE=--upgrade' takes newer versions," \
    "and deploy/accepted-vulnerabilities.txt passes over one for a while"
