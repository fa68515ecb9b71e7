#!/usr/bin/env bash
# Estimate what the service costs a month: Fargate's price of its tasks, public addresses, a load balancer.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh

size | xargs | awk -v region="$AWS_REGION" '
  NR == FNR { cpu = $1; memory = $2; tasks = $3; balancers = $4; next }
  $1 == region || $1 == "us-east-1" { vcpu[$1] = $2; gb[$1] = $3; date[$1] = $4 }
  $1 == "public-ipv4" { address = $2 }
  $1 == "load-balancer" { balancer = $2 }
  END {
    known = region in vcpu ? region : "us-east-1"
    hours = 730
    fargate = tasks * hours * (cpu / 1024 * vcpu[known] + memory / 1024 * gb[known])
    # A load balancer has an address in each of two zones.
    addresses = tasks + 2 * balancers
    total = fargate + hours * (addresses * address + balancers * balancer)
    what = tasks == 1 ? "a task" : tasks " tasks"
    verb = tasks == 1 ? "costs" : "cost"
    where = addresses == 1 ? "its public address" : addresses " public addresses"
    printf "%s of %g vCPU and %g GB %s about $%.2f a month: Fargate $%.2f, ",
      what, cpu / 1024, memory / 1024, verb, total, fargate
    if (balancers) printf "a load balancer $%.2f, ", hours * balancers * balancer
    printf "%s $%.2f\n", where, hours * addresses * address
    printf "at the prices of %s in deploy/fargate-prices.tsv", date[known]
    if (known != region) printf "; it has none for %s, so these are those of %s", region, known
    print "; images, logs and traffic come on top"
  }' - deploy/fargate-prices.tsv | while read -r line; do say "$line"; done
