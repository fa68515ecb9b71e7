#!/usr/bin/env bash
# Look for known vulnerabilities in what trains the model and what serves it, with the pip-audit that is named.
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
