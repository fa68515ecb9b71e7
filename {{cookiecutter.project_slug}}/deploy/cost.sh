#!/usr/bin/env bash
# Estimate what the service costs in an idle month and in a busy one, or with as many tasks as are given.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh

size | xargs | awk -v region="$AWS_REGION" -v only="${1:-}" -v today="$(date +%Y-%m)" '
  function months(text) { return substr(text, 1, 4) * 12 + substr(text, 6, 2) }
  function part(what, dollars) {
    if (dollars) { parts = parts sprintf("%s%s $%.2f", parts ? ", " : "", what, dollars); total += dollars }
  }
  function month(name, tasks, requests) {
    parts = ""; total = 0
    part(sprintf("%d task%s of %g vCPU and %g GB", tasks, tasks == 1 ? "" : "s", cpu / 1024, memory / 1024),
      tasks * hours * (cpu / 1024 * vcpu[known] + memory / 1024 * gb[known]))
    # A load balancer has an address in each of two zones.
    addresses = tasks + 2 * balancers
    part(addresses " public address" (addresses == 1 ? "" : "es"), addresses * hours * price["public-ipv4"])
    # New connections count most: 25 a second are a unit.
    part("load balancer", balancers * hours * (price["load-balancer"] + price["load-balancer-unit"] * requests / 25))
    part("alarms", alarms * price["alarm"] + (alarms > 0) * price["metric"])
    # A line of the log has some 400 bytes.
    part("log", requests * hours * 3600 * 400 / 1e9 * price["log-gb"])
    printf "%s: about $%.2f a month: %s\n", name, total, parts
  }
  NR == FNR { cpu = $1; memory = $2; least = $3; most = $4; balancers = $5; alarms = $6; next }
  /^#/ { next }
  $1 ~ /^(public-ipv4|load-balancer|load-balancer-unit|log-gb|alarm|metric)$/ {
    price[$1] = $2; date[$1] = $4; next
  }
  $1 == region || $1 == "us-east-1" { vcpu[$1] = $2; gb[$1] = $3; since[$1] = $4 }
  END {
    known = region in vcpu ? region : "us-east-1"
    hours = 730; rate = 10
    if (only) { month(only " tasks, without requests", only, 0); exit }
    month("idle, " least " task" (least == 1 ? "" : "s"), least, 0)
    month("busy, " most " task" (most == 1 ? "" : "s") " and " rate " requests a second", most, rate)
    printf "at prices of %s (Fargate in %s)", since[known], known
    if (known != region) printf "; deploy/prices.tsv has none for %s", region
    if (region != "us-east-1") printf "; load balancer, log and alarms at those of us-east-1"
    print "; images and traffic come on top"
    if (months(today) - months(since[known]) > 12)
      print "note: Fargate in " known " was last confirmed in " since[known] ": see https://aws.amazon.com/fargate/pricing/"
    for (name in date)
      if (date[name] != "-" && months(today) - months(date[name]) > 12)
        print "note: the price of " name " was last confirmed in " date[name]
  }' - deploy/prices.tsv | while read -r line; do say "$line"; done
