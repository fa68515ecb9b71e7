#!/usr/bin/env bash
# Install those of TOOLS that the job's image lacks, from Debian's packages.
set -euo pipefail
. deploy/common.sh

if [ -z "$TOOLS" ]; then
  exit 0
fi
packages=()
missing=()
for tool in $TOOLS; do
  command -v "$tool" >/dev/null && continue
  missing+=("$tool")
  case $tool in
    aws) packages+=(awscli) ;;
    docker) packages+=(docker-cli docker-buildx) ;;
    *) packages+=("$tool") ;;
  esac
done
if [ ${#missing[@]} -eq 0 ]; then
  say "$TOOLS are installed"
else
  command -v apt-get >/dev/null ||
    fail "${missing[*]} is missing, and there is no apt-get to install it: use an image that has it"
  say "installing ${packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
# Docker-in-Docker starts alongside the job, not before it.
if [[ " $TOOLS " == *" docker "* ]]; then
  until=$((SECONDS + ${WAIT_SECONDS:-60}))
  until said=$(docker info 2>&1 >/dev/null); do
    if [ "$SECONDS" -ge "$until" ]; then
      [ -z "${DOCKER_CERT_PATH:-}" ] || [ -e "$DOCKER_CERT_PATH/ca.pem" ] ||
        fail "this job sees no certificates of Docker-in-Docker: the runner must share /certs/client" \
          "between the two ($(tail -n 1 <<<"$said"))"
      fail "Docker does not answer at ${DOCKER_HOST:-its socket}: the runner must be privileged ($(tail -n 1 <<<"$said"))"
    fi
    sleep 1
  done
fi
