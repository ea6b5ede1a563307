#!/bin/sh
# Runs the webuiapi client of A1111's API against a server: one of the address that is given, as 127.0.0.1:8000, or else
# one with the embedded demo model, and a tiny one of random weights with ControlNets, a T2I-Adapter, IP-Adapters and an
# upscaler, which it builds, starts and stops. Needs Python and, once, the package index.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
server=
finish() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q --disable-pip-version-check install webuiapi==0.9.17 pillow==13.0.0

address=${1:-}
if [ -z "$address" ]; then
	address=127.0.0.1:17860
	go build -o "$work/" ./cmd/server ./cmd/goxl
	for kind in controlnet controlnet-union t2i-adapter; do
		"$work/goxl" synth -size tiny -kind "$kind" -o "$work/control/$kind"
	done
	"$work/goxl" synth -size tiny -kind ip-adapter -o "$work/ip"
	mkdir "$work/upscale"
	cp models/esrgan/testdata/compact4.pth "$work/upscale/"
	"$work/server" -addr "$address" -images "$work/images" -max-batch 4 -device cpu -model demo -model tiny=synth:tiny \
		-control-dir "$work/control" -ip-adapter-dir "$work/ip" -upscaler-dir "$work/upscale" 2>"$work/log" &
	server=$!
fi
if ! "$work/venv/bin/python" tools/clients/webuiapi_client.py "$address"; then
	if [ -f "$work/log" ]; then
		tail -n 40 "$work/log" >&2
	fi
	exit 1
fi
