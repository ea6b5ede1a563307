#!/bin/sh
# Compiles the kernels of src/ to images/, once for each 16-bit type, and writes the manifest that go test checks. Needs clang 19 and Go, no CUDA
# toolkit; the same compiler gives the same bytes. Names that end in _sm90a are for Hopper alone (PTX 8.0), all others for capability 8.0 on (PTX 7.0).
#
#   kernels/cuda/build.sh            compile
#   PTXAS=/path/ptxas build.sh       also assemble every image, to see that it is valid and what registers it takes
set -eu
cd "$(dirname "$0")"
clang=${CLANG:-clang-19}
flags='-x cuda --cuda-device-only -nocudainc -nocudalib -O3 -std=c++17 -fno-exceptions -Wall -Wno-unused-function -Wno-pass-failed -S'
rm -rf images
mkdir images
for source in src/*.cu; do
	name=$(basename "$source" .cu)
	arch=sm_80 ptx=70
	case $name in *_sm90a) arch=sm_90a ptx=80 ;; esac
	for type in f16 bf16; do
		define=
		[ $type = f16 ] || define=-DBF16
		$clang $flags --cuda-gpu-arch=$arch -Xclang -target-feature -Xclang +ptx$ptx $define -o images/$name.$type.ptx "$source"
		if [ -n "${PTXAS:-}" ]; then
			"$PTXAS" -arch=$arch -v images/$name.$type.ptx -o /dev/null 2>&1 |
				awk -v of=$name.$type '/Compiling entry/ {split($0, q, "\047"); k = q[2]} /spill stores/ {spill = $5} /Used/ {print of, k, $5, "registers,", spill, "bytes spilled"}'
		fi
	done
done
gzip -9 -n images/*.ptx
go run gen/manifest.go "$($clang --version | head -n 1)" "$flags" > images/manifest.json
