#!/usr/bin/env bash
# Compare the memory of a task with what its workers need, as measured by training.
set -euo pipefail
. deploy/common.sh
. deploy/tool.sh

[ -f model/serving.json ] || exit 0
measured=$(sed -nE 's/.*"worker_mib":([0-9]+).*/\1/p' model/serving.json)
[ -n "$measured" ] || exit 0
sizes=$(size)
cpu=$(sed -n 's/^cpu //p' <<<"$sizes")
memory=$(sed -n 's/^memory //p' <<<"$sizes")
workers=$(sed -n 's/^workers //p' <<<"$sizes")
workers=${workers:-$((cpu < 2048 ? 1 : cpu / 1024))}
taken=$((workers * measured))
say "$workers worker(s) of $measured MiB in a task of $memory MiB"
# The rest is for requests and the operating system.
if [ $((taken * 5)) -gt $((memory * 4)) ]; then
  say "warning: too little is left for requests: give the task more memory ($MEMORY_SETTING), or fewer workers (WORKERS)"
fi
