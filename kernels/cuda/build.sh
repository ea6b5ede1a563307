#!/bin/sh
# Compiles the kernels of src/ once for each 16-bit type, to PTX images and the manifest that go test checks. Needs clang 19 and Go, no CUDA toolkit; the same compiler gives the same
# bytes. Sources whose names end in _sm90a are for Hopper alone (PTX 8.0), all others for capability 8.0 on (PTX 7.0).
#
#   kernels/cuda/build.sh            compile to images/
#   kernels/cuda/build.sh DIR        compile to DIR, which must not exist
#   PTXAS=/path/ptxas build.sh       also assemble every image, to see that it is valid and what registers it takes
#
# CLANG names another compiler, JOBS another number of them at a time than there are processors.
set -eu
out=${1:-}
[ -z "$out" ] || out=$(mkdir "$out" && cd "$out" && pwd)
cd "$(dirname "$0")"
CLANG=${CLANG:-clang-19} PTXAS=${PTXAS:-}
FLAGS='-x cuda --cuda-device-only -nocudainc -nocudalib -O3 -std=c++17 -fno-exceptions -Wall -Wno-unused-function -Wno-pass-failed -S'
export CLANG PTXAS FLAGS
# What is compiled is a copy, so that the hashes are of what was compiled whoever edits meanwhile, and what go build embeds is never half of the images.
work=$(mktemp -d)
new=$(mktemp -d "$PWD/images.XXXXXX")
trap 'rm -rf "$work" "$new"' EXIT
cp -r src gen build.sh "$work"
home=$PWD
cd "$work"
mkdir images

list() { # source, image, architecture, PTX version, type
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
	source=$1 image=$2.$5 arch=$3 ptx=$4 define=
	[ $5 = f16 ] || define=-DBF16
	$CLANG $FLAGS --cuda-gpu-arch=$arch -Xclang -target-feature -Xclang +ptx$ptx $define -o images/$image.ptx $source
	[ -z "$PTXAS" ] || "$PTXAS" -arch=$arch -v images/$image.ptx -o /dev/null >images/$image.log 2>&1 || { cat images/$image.log; exit 1; }
'
list | xargs -P "${JOBS:-$(nproc)}" -L 1 sh -euc "$compile" compile
if [ -n "$PTXAS" ]; then
	for log in images/*.log; do
		awk -v of="$(basename "$log" .log)" '/Compiling entry/ {split($0, q, "\047"); k = q[2]} /spill stores/ {spill = $5} /Used/ {print of, k, $5, "registers,", spill, "bytes spilled"}' "$log"
		rm "$log"
	done
fi
gzip -9 -n images/*.ptx
go run gen/manifest.go images "$($CLANG --version | head -n 1)" "$FLAGS" >images/manifest.json
if [ -n "$out" ]; then
	cp images/* "$out"
	exit
fi
cd "$home"
cp "$work"/images/* "$new"
chmod 755 "$new"
mv images "$new.old"
mv -T "$new" images
rm -rf "$new.old"
