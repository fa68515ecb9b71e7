#!/usr/bin/env bash
# Estimate the monthly cost of the service, idle and busy, or with a given number of tasks.
#
# `size` in tool.sh prints names and numbers; a name that it leaves out is 0: cpu (units) and memory (MiB) of a task;
# workers, which only check-memory.sh reads; least and most, the numbers of tasks; balancers; alarms (their metrics);
# metrics (custom ones); inputs (each has a metric while there are requests); nat-gateways; endpoints (interface
# endpoints, in each of two zones); addresses-of-tasks (1 if each has a public one); addresses (all others); open, the
# office hours in a week; outside, the tasks at other times.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh

sizes=$(size)
xargs <<<"$sizes" | awk -v region="$AWS_REGION" -v only="${1:-}" -v today="$(date +%Y-%m)" '
  function months(text) { return substr(text, 1, 4) * 12 + substr(text, 6, 2) }
  function count(tasks) { return tasks + 0 " task" (tasks == 1 ? "" : "s") }
  function part(what, dollars) {
    if (dollars) { parts = parts sprintf("%s%s $%.2f", parts ? ", " : "", what, dollars); total += dollars }
  }
  function of_tasks(tasks) {
    return tasks * hours * (size["cpu"] / 1024 * vcpu[known] + size["memory"] / 1024 * gb[known])
  }
  # The average of a month, if the number of tasks is different outside of office hours.
  function mean(tasks) {
    return size["open"] ? (tasks * size["open"] + size["outside"] * (168 - size["open"])) / 168 : tasks
  }
  function month(name, tasks, requests) {
    parts = ""; total = 0
    part(sprintf("%s of %g vCPU and %g GB", count(tasks), size["cpu"] / 1024, size["memory"] / 1024),
      of_tasks(mean(tasks)))
    addresses = mean(tasks) * size["addresses-of-tasks"] + size["addresses"]
    part(sprintf("%.3g public address%s", addresses, addresses == 1 ? "" : "es"), addresses * hours * price["public-ipv4"])
    # New connections dominate: 25 a second use one unit.
    part("load balancer",
      size["balancers"] * hours * (price["load-balancer"] + price["load-balancer-unit"] * requests / 25))
    part("NAT gateway", size["nat-gateways"] * hours * price["nat-gateway"])
    part(size["endpoints"] " endpoints", 2 * size["endpoints"] * hours * price["endpoint"])
    inputs = requests ? size["inputs"] : 0
    part("alarms", (size["alarms"] + inputs) * price["alarm"])
    part("metrics", (size["metrics"] + inputs) * price["metric"])
    # A log line has about 400 bytes.
    part("log", requests * hours * 3600 * 400 / 1e9 * price["log-gb"])
    printf "%s: about $%.2f a month%s\n", name, total, parts ? ": " parts : ""
  }
  NR == FNR { for (i = 1; i < NF; i += 2) size[$i] = $(i + 1); next }
  /^#/ { next }
  $3 ~ /[a-z]/ { price[$1] = $2; date[$1] = $4; next }
  $1 == region || $1 == "us-east-1" { vcpu[$1] = $2; gb[$1] = $3; since[$1] = $4 }
  END {
    known = region in vcpu ? region : "us-east-1"
    hours = 730; rate = 10
    least = size["least"]; most = size["most"]
    if (only != "") { size["open"] = 0; month(count(only) ", without requests", only, 0); exit }
    month("idle, " count(least), least, 0)
    month("busy, " count(most) " and " rate " requests a second", most, rate)
    if (size["open"])
      printf "office hours, %d of 168 in a week, save about $%.2f a month of an idle service, $%.2f of a busy one\n",
        size["open"], saved(least), saved(most)
    printf "at prices of %s (Fargate in %s)", since[known], known
    if (known != region) printf "; deploy/prices.tsv has none for %s", region
    if (region != "us-east-1") printf "; all else at those of us-east-1"
    print "; image storage and data transfer are not included"
    if (months(today) - months(since[known]) > 12)
      print "note: Fargate in " known " was last confirmed in " since[known] ": see https://aws.amazon.com/fargate/pricing/"
    for (name in date)
      if (date[name] != "-" && months(today) - months(date[name]) > 12)
        print "note: the price of " name " was last confirmed in " date[name]
  }
  function saved(tasks) {
    return of_tasks(tasks) - of_tasks(mean(tasks)) \
      + (tasks - mean(tasks)) * size["addresses-of-tasks"] * hours * price["public-ipv4"]
  }' - deploy/prices.tsv | while read -r line; do say "$line"; done
