#!/usr/bin/env bash
# Score files with the local model: batch.sh IN OUT, paths or s3:// URLs.
set -euo pipefail
. deploy/common.sh

case " $1 $2" in
  *' s3://'*) prepare_s3 ;;
esac
exec .venv/bin/python -m inference.batch "$1" "$2"
