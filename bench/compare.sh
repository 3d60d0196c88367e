#!/usr/bin/env bash
# Compares two commits: bench/compare.sh REF1 REF2 [flags of bench]. Both are built, asked the same questions in turn, and
# stand beside one another, REF2 first: a ratio below 1 of a time is a gain, unless the ranges beside the figures overlap; on a
# busy machine a commit is a tenth off from itself. Scenarios that compare: cold, cpu, warm, start. Try: bench/compare.sh HEAD~10 HEAD -run cold
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
before=$(git -C "$root" rev-parse --short "$1^{commit}") after=$(git -C "$root" rev-parse --short "$2^{commit}")
shift 2
dir=$(mktemp -d)
trap 'for tree in before after; do git -C "$root" worktree remove --force "$dir/$tree" 2>/dev/null || true; done; rm -rf "$dir"' EXIT

build() { # name ref
  git -C "$root" worktree add --quiet --detach "$dir/$1" "$2"
  (cd "$dir/$1" && CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags '-s -w' -o "$dir/ratify-$1" ./cmd/ratify)
}
echo "build $before and $after" >&2
build before "$before"
build after "$after"
cd "$root/bench"
go run . -binary "$dir/ratify-after" -against "$before=$dir/ratify-before" -commit "$after compared with $before" "$@"
