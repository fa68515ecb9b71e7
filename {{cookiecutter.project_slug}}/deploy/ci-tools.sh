#!/usr/bin/env bash
# Install what the image of a job lacks of TOOLS, from Debian's packages.
set -euo pipefail
. deploy/common.sh

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
  say "$TOOLS are here"
else
  command -v apt-get >/dev/null ||
    fail "there is no ${missing[*]}, and no apt-get to install it: take an image that has it"
  say "installing ${packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
# Docker-in-Docker starts beside the job, not before it.
if [[ " $TOOLS " == *" docker "* ]]; then
  until=$((SECONDS + 60))
  until docker info >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || fail "Docker does not answer at ${DOCKER_HOST:-its socket}: the runner must be privileged"
    sleep 1
  done
fi
