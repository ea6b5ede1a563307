#!/bin/sh
# Compiles the kernels for this x86-64 CPU into DIR/kernels.f16.so and DIR/kernels.bf16.so, for go test -tags emulate
# ./kernels/cuda.
#
#   kernels/cuda/emulate/build.sh DIR
set -eu
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"
clang=${CLANGXX:-clang++-19}
flags='-O2 -g -std=c++17 -mf16c -fPIC -fno-exceptions -fno-builtin -w'
for type in f16 bf16; do
	define=
	[ $type = f16 ] || define=-DBF16
	objects=
	for source in ../src/*.cu *.cpp; do
		object=$out/$(basename "$source").$type.o
		$clang -x c++ $flags -DEMULATE $define -c -o "$object" "$source"
		objects="$objects $object"
	done
	$clang -shared -o "$out/kernels.$type.so" $objects -lm
	rm $objects
done
