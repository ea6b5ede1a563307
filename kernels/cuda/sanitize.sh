#!/usr/bin/env bash
# Runs the small and odd cases of the conformance table under NVIDIA's compute-sanitizer, all its tools side by side,
# and prints a summary. Needs a card, the CUDA toolkit, and a test binary:
#
#   go test -c -o cuda.test ./kernels/cuda && kernels/cuda/sanitize.sh cuda.test [FOLDER]
#
# Logs stay in FOLDER, or in a temporary one that is named. The status is 0 only if every run ended, passed its cases
# and was found clean. Environment:
#
#   TOOLS   tools to run, from memcheck initcheck synccheck racecheck
#   ON      families and precisions, from sm_90a_fp16 sm_90a_bf16 sm_80_fp16 sm_80_bf16
#   CASES   a regular expression over the cases
#   LIMIT   seconds that a run may take, 240 without it
#   PRINT   errors that a log has at most, 20 without it
set -u
test=$(realpath "${1:?the test binary: go test -c -o cuda.test ./kernels/cuda}")
logs=${2:-$(mktemp -d)}
mkdir -p "$logs"
logs=$(realpath "$logs")
cd "$(dirname "$0")"
PATH=$PATH:/usr/local/cuda/bin
tools=${TOOLS:-memcheck initcheck synccheck racecheck}
on=${ON:-sm_90a_fp16 sm_80_fp16 sm_90a_bf16 sm_80_bf16}
limit=${LIMIT:-240} print=${PRINT:-20}
export GOXL_REQUIRE=cuda
version=$(compute-sanitizer --version | sed -n 's/.*Version *//p')
[ -n "$version" ] || { echo "compute-sanitizer is not there: it comes with the CUDA toolkit" >&2; exit 2; }
echo "compute-sanitizer $version, logs in $logs"

one() { # tool, family and precision
	options=
	case $1 in
	memcheck) options='--leak-check full --report-api-errors no' ;; # goxl checks every code, and asks for parameters until there is none
	racecheck) options='--racecheck-report analysis' ;;
	esac
	start=$(date +%s)
	timeout -k 5 "$limit" compute-sanitizer --tool "$1" $options --print-limit "$print" --error-exitcode 86 --log-file "$logs/$1.$2.found" \
		"$test" -test.v -test.run "TestConformance/^$2\$" -cuda.small -cuda.filter "${CASES:-.}" >"$logs/$1.$2.log" 2>&1
	echo "$? $(($(date +%s) - start))" >"$logs/$1.$2.end"
}
for tool in $tools; do
	for what in $on; do
		one "$tool" "$what" &
	done
done
wait

bad=0
printf '%-10s %-12s %6s %6s %7s  %s\n' tool on passed failed seconds verdict
for tool in $tools; do
	for what in $on; do
		log=$logs/$tool.$what
		read -r status seconds <"$log.end"
		# A case that passes logs its share of the budget at once, one that fails is told of when all have ended.
		cases=$(grep -c '^ *run\.go:[0-9]*: .* of the budget$' "$log.log")
		failed=$(grep -c '^ *--- FAIL: TestConformance/[^/]*/[^/]*/' "$log.log")
		verdict=$(sed -n 's/^========= \(.*SUMMARY: .*\)/\1/p' "$log.found" 2>/dev/null | tr '\n' ' ')
		case $status in
		0) [ "$cases" -gt 0 ] || { verdict="no case ran"; bad=1; } ;;
		124 | 137) verdict="did not end in $limit s; $verdict" bad=1 ;;
		86) bad=1 ;;
		*) verdict="status $status; $verdict" bad=1 ;;
		esac
		printf '%-10s %-12s %6d %6d %7d  %s\n' "$tool" "$what" "$cases" "$failed" "$seconds" "$verdict"
	done
done
exit $bad
