#!/bin/sh
# Runs OpenAI's own Python client against a server with the embedded model:
#
#     tools/clients/openai.sh [FOLDER]
#
# FOLDER keeps the virtual environment and the server between runs; without one they go with the run. PyPI is asked
# for the client. The last line is "all passed"; the exit status is 1 otherwise.
set -eu
cd "$(dirname "$0")/../.."
work=${1:-$(mktemp -d)}
server=
finish() {
	[ -z "$server" ] || { kill "$server" && wait "$server"; } || true
	[ $# -gt 0 ] || rm -rf "$work"
}
if [ $# -gt 0 ]; then trap 'finish keep' EXIT; else trap finish EXIT; fi

[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install 'openai==3.57.0' 'pillow==13.0.0'
go build -o "$work/server" ./cmd/server
rm -rf "$work/images" "$work/log"
"$work/server" -addr 127.0.0.1:0 -device cpu -request-timeout 0 -images "$work/images" 2>"$work/log" &
server=$!
address=
tries=0
while [ -z "$address" ]; do
	kill -0 "$server" && [ $((tries += 1)) -lt 300 ] || { cat "$work/log"; exit 1; }
	sleep 0.2
	address=$(sed -n 's|.*msg=listening address=\(http://[0-9.:]*\).*|\1|p' "$work/log")
done
"$work/venv/bin/python" tools/clients/openai_client.py "$address"
