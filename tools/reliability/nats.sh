#!/bin/sh
# Proves on one machine that jobs over NATS are each done once and none is lost: one API, three workers, 2,000 jobs, while
# workers are killed -9 ten times and stopped past their lease five times, the API is killed -9 five times, and NATS is
# restarted twice. Then it compares 32 workers, whose engine only sleeps, with one. It needs Go and 1 GB on the disk.
#
#   tools/reliability/nats.sh [FOLDER]      in FOLDER, by default in a temporary one that is removed
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-}
if [ -z "$folder" ]; then
	folder=$(mktemp -d "${TMPDIR:-/var/tmp}/goxl-nats-XXXXXX")
	trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"
go build -o "$folder/server" ./cmd/server
go build -o "$folder/nats" ./tools/reliability/nats
"$folder/nats" prove -server "$folder/server" -folder "$folder/prove"
"$folder/nats" scale -server "$folder/server" -folder "$folder/scale" -sleep 4s
