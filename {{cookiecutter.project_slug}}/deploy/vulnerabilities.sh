# Temporarily accepted vulnerabilities; sourced by the steps that look for vulnerabilities.
# shellcheck shell=bash

# Print the accepted ids that have not expired.
accepted() {
  local file=deploy/accepted-vulnerabilities.txt id until reason
  while read -r id until reason || [ -n "$id" ]; do
    [[ -n $id && $id != \#* ]] || continue
    [[ $until =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}$ && -n $reason ]] ||
      fail "$file: $id needs a last day and a reason, for example: $id 2030-01-31 never called here"
    if [[ $until < $(date +%F) ]]; then
      say "$id is no longer accepted: its last day was $until" >&2
    else
      say "accepting $id until $until: $reason" >&2
      echo "$id"
    fi
  done <"$file"
}
