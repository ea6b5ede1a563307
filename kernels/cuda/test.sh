#!/usr/bin/env bash
# Runs the test programs that make test-gpu-build makes, each in its package's folder, on a machine that needs no Go,
# but the tree's files beside it.
#
#   kernels/cuda/test.sh FOLDER [FLAGS]     every FOLDER/*.test; FLAGS are theirs, such as -test.v or -test.run=Conformance
#
# A program is called as its package's folder, with + for /: kernels+cpu.test. GOXL_REQUIRE lists what the machine has
# to have, cuda,avx512 without it: what is missing of that fails, what is missing of the rest says NOT TESTED. The
# status is 0 only if every program passed.
set -uo pipefail
folder=$(realpath "${1:?the folder of the test programs: make test-gpu-build}")
shift
cd "$(dirname "$0")/../.."
root=$PWD
export GOXL_REQUIRE=${GOXL_REQUIRE-cuda,avx512}
echo "required: ${GOXL_REQUIRE:-nothing}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

bad=0 ran=0
for program in "$folder"/*.test; do
	[ -e "$program" ] || break
	package=$(basename "$program" .test)
	package=${package//+//}
	start=$SECONDS
	(cd "$root/$package" && "$program" -test.timeout 30m -test.v "$@") >"$log" 2>&1
	status=$?
	ran=$((ran + 1))
	if [ $status = 0 ]; then
		printf 'ok    %-24s %4d s, %d tests passed\n' "$package" $((SECONDS - start)) "$(grep -c '^--- PASS' "$log")"
	else
		cat "$log"
		printf 'FAIL  %-24s %4d s, status %d\n' "$package" $((SECONDS - start)) $status
		bad=1
	fi
	grep -o 'NOT TESTED: .*' "$log" | sort -u
done
[ $ran -gt 0 ] || { echo "$folder has no test programs" >&2; exit 2; }
exit $bad
