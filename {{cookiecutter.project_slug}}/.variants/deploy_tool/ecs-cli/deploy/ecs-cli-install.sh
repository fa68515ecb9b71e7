#!/usr/bin/env bash
# Install the pinned version of ecs-cli into bin/, after verifying its signature by Amazon ECS.
set -euo pipefail
. deploy/common.sh

if "$ECS_CLI" --version 2>/dev/null | grep -q " $ECS_CLI_VERSION "; then
  say "$ECS_CLI is version $ECS_CLI_VERSION"
  exit 0
fi
case $(uname -sm) in
  "Linux x86_64") system=linux ;;
  # On Apple's processors Rosetta runs it.
  Darwin*) system=darwin ;;
  *) fail "there is no ecs-cli for $(uname -sm), only for x86-64 Linux and macOS: build it from" \
    "https://github.com/aws/amazon-ecs-cli, and set ECS_CLI to its path" ;;
esac
command -v gpg >/dev/null || fail "gpg is not installed, and without it the download cannot be verified:" \
  "install the package gnupg"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
file="ecs-cli-$system-amd64-v$ECS_CLI_VERSION"
say "downloading $file"
# Do not send the deployed service's key to other hosts.
unset API_KEY
ask "$ECS_CLI_URL/$file" >"$folder/ecs-cli"
ask "$ECS_CLI_URL/$file.asc" >"$folder/ecs-cli.asc"
export GNUPGHOME="$folder"
ask "$ECS_CLI_KEYSERVER/pks/lookup?op=get&options=mr&search=0x$ECS_CLI_KEY" |
  gpg --quiet --batch --import || fail "could not get the key $ECS_CLI_KEY from $ECS_CLI_KEYSERVER"
gpg --batch --status-fd 1 --verify "$folder/ecs-cli.asc" "$folder/ecs-cli" 2>/dev/null |
  grep -q "VALIDSIG .*$ECS_CLI_KEY" || fail "the signature of $file is not valid: nothing was installed"
mkdir -p bin
install -m 755 "$folder/ecs-cli" bin/ecs-cli
say "installed bin/ecs-cli"
