#!/bin/sh
# Runs the webuiapi client of A1111's API against a server: one of the address that is given, as 127.0.0.1:8000, or else
# one with the embedded demo model, which it builds, starts and stops. Needs Python and, once, the package index.
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
	go build -o "$work/server" ./cmd/server
	"$work/server" -addr "$address" -images "$work/images" -max-batch 4 -device cpu 2>"$work/log" &
	server=$!
fi
if ! "$work/venv/bin/python" tools/clients/webuiapi_client.py "$address"; then
	if [ -f "$work/log" ]; then
		tail -n 40 "$work/log" >&2
	fi
	exit 1
fi
