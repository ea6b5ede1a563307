#!/bin/sh
# Compiles the kernels of src/ once for each 16-bit type, to PTX modules and the manifest that go test checks. Needs
# clang 19 and Go, no CUDA toolkit; the same compiler gives the same bytes. Sources whose names end in _sm90a are for
# Hopper alone (PTX 8.0), all others for compute capability 8.0 on (PTX 7.0).
#
#   kernels/cuda/build.sh            compile to ptx/
#   kernels/cuda/build.sh DIR        compile to DIR, which must not exist
#   PTXAS=/path/ptxas build.sh       also assemble every module, to see that it is valid and what registers it takes
#
# CLANG names another compiler. JOBS is how many run at a time, by default the number of CPUs.
set -eu
out=${1:-}
[ -z "$out" ] || out=$(mkdir "$out" && cd "$out" && pwd)
cd "$(dirname "$0")"
CLANG=${CLANG:-clang-19} PTXAS=${PTXAS:-}
FLAGS='-x cuda --cuda-device-only -nocudainc -nocudalib -O3 -std=c++17 -fno-exceptions -Wall -Wno-unused-function -Wno-pass-failed -S'
export CLANG PTXAS FLAGS
# A copy of the sources is compiled, so that the manifest's hashes are of what was compiled even if somebody edits them
# meanwhile. The modules are replaced all at once, so that go build never embeds some old and some new ones.
work=$(mktemp -d)
new=$(mktemp -d "$PWD/ptx.XXXXXX")
trap 'rm -rf "$work" "$new"' EXIT
cp -r src gen build.sh "$work"
home=$PWD
cd "$work"
mkdir ptx

list() { # source, module, architecture, PTX version, type
	for source in src/*.cu; do
		name=$(basename "$source" .cu)
		for type in f16 bf16; do
			case $name in
			*_sm90a) echo "$source $name sm_90a 80 $type" ;;
			*) echo "$source $name sm_80 70 $type" ;;
			esac
		done
	done
}
compile='
	source=$1 module=$2.$5 arch=$3 ptx=$4 define=
	[ $5 = f16 ] || define=-DBF16
	$CLANG $FLAGS --cuda-gpu-arch=$arch -Xclang -target-feature -Xclang +ptx$ptx $define -o ptx/$module.ptx $source
	[ -z "$PTXAS" ] || "$PTXAS" -arch=$arch -v ptx/$module.ptx -o /dev/null >ptx/$module.log 2>&1 || { cat ptx/$module.log; exit 1; }
'
list | xargs -P "${JOBS:-$(nproc)}" -L 1 sh -euc "$compile" compile
if [ -n "$PTXAS" ]; then
	for log in ptx/*.log; do
		awk -v of="$(basename "$log" .log)" '/Compiling entry/ {split($0, q, "\047"); k = q[2]} /spill stores/ {spill = $5} /Used/ {print of, k, $5, "registers,", spill, "bytes spilled"}' "$log"
		rm "$log"
	done
fi
gzip -9 -n ptx/*.ptx
go run gen/manifest.go ptx "$($CLANG --version | head -n 1)" "$FLAGS" >ptx/manifest.json
if [ -n "$out" ]; then
	cp ptx/* "$out"
	exit
fi
cd "$home"
cp "$work"/ptx/* "$new"
chmod 755 "$new"
mv ptx "$new.old"
mv -T "$new" ptx
rm -rf "$new.old"
