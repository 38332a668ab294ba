#!/bin/bash
# ikada's balancer beside nginx, HAProxy and a plain ReverseProxy; see e2e/benchproxy. Called by `make bench-proxy`;
# arguments are passed on.
#
#   e2e/benchproxy/run.sh -only small,tls -duration 5s -peers nginx,haproxy,ikada
#   e2e/benchproxy/run.sh -help        what else there is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing=()
for pair in wrk:wrk h2load:nghttp2-client nginx:nginx-light haproxy:haproxy perf:linux-perf; do
	command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
mask=''
if [[ ${#missing[@]} -gt 0 ]]; then
	echo "installing Debian packages for the comparison: ${missing[*]}"
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then # the packages' daemons are not to start: the comparison has its own
		mask=/usr/sbin/policy-rc.d
		trap 'rm -f "$mask"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$mask"
		chmod 755 "$mask"
	fi
	for package in "${missing[@]}"; do # one by one: what cannot be had is left out, if it is a peer or the profile
		install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1; }
		install || { apt-get update -qq && install; } || echo "$package could not be installed"
	done
fi

bin=$(mktemp -d "${TMPDIR:-/tmp}/ikada-bench.XXXXXX")
trap 'rm -rf "$bin"; if [[ -n $mask ]]; then rm -f "$mask"; fi' EXIT
go build -o "$bin/" ./e2e/benchproxy
"$bin/benchproxy" "$@"
