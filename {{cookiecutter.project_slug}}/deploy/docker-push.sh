#!/usr/bin/env bash
# Push the image, unless the registry has it. Tags are immutable: refuse a different build of an existing tag.
set -euo pipefail
. deploy/common.sh
say "pushing $IMAGE"

# The layers of the image, or nothing if it is not on this machine.
layers() {
  local found
  if found=$("$DOCKER" image inspect --format '{{json .RootFS.Layers}}' "$IMAGE" 2>&1); then
    echo "$found"
  else
    [[ $found == *[Nn]o\ such* ]] || fail "$found"
  fi
}

status=0
deploy/image-pushed.sh || status=$?
case $status in
  0)
    built=$(layers)
    # Layers that are available locally are not transferred.
    "$DOCKER" pull --quiet "$IMAGE" >/dev/null || fail "could not pull $IMAGE to compare it: see the error above"
    pushed=$(layers)
    [ -z "$built" ] || [ "$built" = "$pushed" ] ||
      fail "the registry has another build of $IMAGE, with a different base image or packages. Release that one" \
        "with 'make promote', or commit ('git commit --allow-empty') to release the local build"
    say "$IMAGE is in the registry"
    exit 0
    ;;
  1) ;;
  *) exit "$status" ;;
esac
"$DOCKER" push --quiet "$IMAGE" >/dev/null ||
  fail "could not push, see the error above; have the earlier steps run? 'make -n deploy' lists them"
say "pushed $IMAGE"
