#!/usr/bin/env bash
# Checks the files of this folder by what reads them: what the module tools/deploy has, the NATS server that goxl is
# built with, and of promtool, systemd-analyze and the Python package dstack what is there. What is missing is said.
# Needs the Go module proxy.
set -Eeuo pipefail
cd "$(dirname "$0")"
go -C ../tools/deploy run . "$PWD"

# -t reads the file and starts nothing.
go run github.com/nats-io/nats-server/v2 -t -c kubernetes/workers/nats.conf

if command -v promtool >/dev/null; then
	promtool check config prometheus/prometheus.yml
	promtool test rules prometheus/alerts_test.yml
else
	echo 'NOT CHECKED: that alerts fire when they are to: promtool, of the Debian package prometheus, is missing'
fi

if command -v systemd-analyze >/dev/null; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' systemd/goxl.service >"$work/goxl.service" # which need not be installed
	said=$(systemd-analyze verify "$work/goxl.service" 2>&1) || { echo "$said"; exit 1; }
	if [ -n "$said" ]; then
		echo "$said"
		exit 1
	fi
	systemd-analyze security --offline=true --threshold=25 "$work/goxl.service" | tail -n 1
else
	echo 'NOT CHECKED: systemd/goxl.service: systemd-analyze is missing'
fi

python=${PYTHON:-python3}
if "$python" -c 'import dstack._internal.core' 2>/dev/null; then
	"$python" - dstack/service.dstack.yml ../api.dstack.yml <<-'PYTHON'
		import sys, yaml
		from dstack._internal.core.models.configurations import parse_apply_configuration
		for path in sys.argv[1:]:
		    with open(path) as f:
		        parse_apply_configuration(yaml.safe_load(f))
		    print(f"{path}: is a configuration of dstack")
	PYTHON
else
	echo 'NOT CHECKED: dstack/service.dstack.yml: the Python package dstack is missing (PYTHON names the interpreter)'
fi
