#!/bin/bash
# ikada beside Docker and Docker Swarm on this machine; see e2e/bench. Called by `make bench`; arguments are passed on.
#
#   e2e/bench.sh -rounds 7             more values behind each median
#   e2e/bench.sh -docker=false         ikada alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
for pair in dockerd:docker.io tini:tini ip:iproute2 unshare:util-linux; do
	command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
[[ -x /usr/bin/docker ]] || missing+=(docker.io) # Debian's own client, of the daemon's version
docker=true mask=''
if [[ ${#missing[@]} -gt 0 && " $* " != *" -docker=false "* ]]; then
	echo "installing Debian packages for the comparison: ${missing[*]}"
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then # the package's daemon is not to start: the comparison has its own
		mask=/usr/sbin/policy-rc.d
		trap 'rm -f "$mask"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$mask"
		chmod 755 "$mask"
	fi
	install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; }
	install || { apt-get update -qq && install; } || {
		echo "Docker could not be installed (apt-get install docker.io): ikada is measured alone."
		docker=false
	}
fi

bin=$(mktemp -d "${TMPDIR:-/tmp}/ikada-bench.XXXXXX")
trap 'rm -rf "$bin"; if [[ -n $mask ]]; then rm -f "$mask"; fi' EXIT
go build -o "$bin/" ./e2e/bench ./e2e/baseimage
"$bin/bench" -baseimage "$bin/baseimage" -docker="$docker" "$@"
