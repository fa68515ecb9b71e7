#!/usr/bin/env bash
# Score a file by the model that is here: batch.sh IN OUT, each a path or an s3:// URL.
set -euo pipefail
. deploy/common.sh

case " $1 $2" in
  *' s3://'*) export_credentials ;;
esac
exec .venv/bin/python -m inference.batch "$1" "$2"
