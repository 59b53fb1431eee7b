#!/usr/bin/env bash
# Breaks the proxy's pure rules one by one, each in a copy of the tree, and expects the property named in the patch to fail.
# Usage: proxy/mutations/run.sh [PATCH...]. Exit 1: a property passed although its rule was broken, or a patch is stale.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(git -C "$here" rev-parse --show-toplevel)
# Always the same place, so that a second run compiles little; a target directory of its own, because cargo takes equal
# paths in two copies of a workspace for the same crate, and nobody else shall be handed what is broken here.
work=${CARGO_TARGET_DIR:-$root/target}/mutations
tree=$work/tree
log=$work/log
cargo=${CARGO:-cargo}
export CARGO_TARGET_DIR=$work/target

if [ $# -gt 0 ]; then patches=("$@"); else patches=("$here"/*.patch); fi

mkdir -p "$tree"
find "$tree" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
(cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree" 2>/dev/null) || true
cd "$tree"

# Prints what tests do: they pass, one fails, they do not compile, they are not there.
outcome() {
  if ! "$cargo" test --quiet -p switchyard-proxy --lib --no-run >"$log" 2>&1; then
    echo "does not compile"
    return
  fi
  local code=0
  timeout 300 "$cargo" test -p switchyard-proxy --lib -- "$@" >"$log" 2>&1 || code=$?
  if [ "$code" -eq 124 ]; then
    echo "hangs"
  elif [ "$code" -ne 0 ]; then
    echo "fails"
  elif grep -qE '^test result: ok\. [1-9]' "$log"; then
    echo "passes"
  else
    echo "is not there"
  fi
}

field() { sed -n "s/^$1: //p" "$2" | head -n 1; }

bad=0
mapfile -t properties < <(for patch in "${patches[@]}"; do field property "$patch"; done | sort -u)
whole=$(outcome "${properties[@]}")
if [ "$whole" != passes ]; then
  echo "the tree as it is, with ${#properties[@]} properties: $whole; see $log" >&2
  exit 1
fi
printf '%-56s %-28s %s\n' PROPERTY MUTATION RESULT
for patch in "${patches[@]}"; do
  property=$(field property "$patch")
  name=$(basename "$patch" .patch)
  if patch --batch --silent --forward --fuzz=2 -p1 <"$patch" >/dev/null; then
    result=$(outcome "$property")
  else
    result="the patch does not fit any more"
  fi
  case $result in
    fails) verdict="caught" ;;
    *) verdict="NOT CAUGHT: $result"; bad=1 ;;
  esac
  printf '%-56s %-28s %s\n' "$property" "$name" "$verdict"
  # back to the whole tree, whatever the patch did
  for file in $(sed -n 's,^+++ b/,,p' "$patch"); do
    cp "$root/$file" "$file"
    rm -f "$file.rej" "$file.orig"
  done
done
exit "$bad"
