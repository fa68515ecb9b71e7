#!/usr/bin/env bash
# Estimate what a task costs a month: Fargate's price of its size, and a public address.
set -euo pipefail
. deploy/common.sh

size() {
  sed -n "s/^ *$1: \"\{0,1\}\([0-9]*\)\"\{0,1\} *$/\1/p" ecs-params.yml
}

awk -v cpu="$(size cpu_limit)" -v memory="$(size mem_limit)" -v region="$AWS_REGION" '
  $1 == region || $1 == "us-east-1" { vcpu[$1] = $2; gb[$1] = $3; date[$1] = $4 }
  $1 == "public-ipv4" { address = $2 }
  END {
    known = region in vcpu ? region : "us-east-1"
    hours = 730
    task = hours * (cpu / 1024 * vcpu[known] + memory / 1024 * gb[known])
    printf "a task of %g vCPU and %g GB costs about $%.2f a month: Fargate $%.2f, its public address $%.2f\n",
      cpu / 1024, memory / 1024, task + hours * address, task, hours * address
    printf "at the prices of %s in deploy/fargate-prices.tsv", date[known]
    if (known != region) printf "; it has none for %s, so these are those of %s", region, known
    print "; images, logs and traffic come on top"
  }' deploy/fargate-prices.tsv | while read -r line; do say "$line"; done
