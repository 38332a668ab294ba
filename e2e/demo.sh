#!/bin/bash
# The demonstration: a node, an app from its source, a new version under load, a broken one that is taken back, and ikada
# itself killed. Called by `make demo`; `e2e/demo.sh stop` undoes it all. Every step is asserted: exit code 0 means that
# all of it happened and that no request failed.
#
#   IKADA_DEMO_DIR    where everything is kept          (/var/tmp/ikada-demo)
#   IKADA_DEMO_API    address of the node's API         (127.0.0.1:25760)
#   IKADA_DEMO_PORT   port that the app is published at (18080)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=${IKADA_DEMO_DIR:-/var/tmp/ikada-demo}
api=${IKADA_DEMO_API:-127.0.0.1:25760}
port=${IKADA_DEMO_PORT:-18080}
url=http://127.0.0.1:$port/
node=$dir/node
app=$dir/app
log=$dir/demo.log
ikada=$PWD/bin/ikada
export IKADA_HOST=unix://$node/ikada.sock PORT=$port GO_IMAGE=$api/golang:1.26
unset IKADA_TOKEN IKADA_APP IKADA_ENV IKADA_DATA_DIR # a user's own would lead elsewhere

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
indent() { sed 's/^/  /'; }
die() {
	printf '\n%sThe demonstration failed: %s%s\n' "$bold" "$*" "$plain" >&2
	if [[ -s $log ]]; then printf 'The last lines of %s:\n' "$log" >&2; tail -n 15 "$log" | indent >&2; fi
	exit 1
}

# remove takes away the node with all that it runs, and the demonstration's files.
remove() {
	if [[ -d $node ]]; then "$ikada" reset --yes --data-dir "$node" >/dev/null || die "the node could not be removed"; fi
	rm -rf "$dir"
}

# deploy CODE rolls out the app's source, prints the receipt, and expects the exit code. Its progress is for a terminal.
deploy() {
	local want=$1 got=0 progress=$log
	if [[ -t 2 ]]; then progress=/dev/stderr; fi
	"$ikada" deploy "$app" >"$dir/receipt" 2>>"$progress" || got=$?
	indent <"$dir/receipt"
	[[ $got == "$want" ]] || die "deploy ended with exit code $got instead of $want"
}

# receipt LINE VALUE expects a line of the last receipt.
receipt() { grep -Eq "^ +$1 +$2\$" "$dir/receipt" || die "the receipt does not say: $1 $2"; }

# become VERSION BROKEN edits the app's source.
become() { sed -i -E "s/(version += ).*/\1\"$1\"/; s/(broken += ).*/\1$2/" "$app/version.go"; }

# node_start runs ikada in the background and waits until it answers.
node_start() {
	setsid "$ikada" up --data-dir "$node" --listen "$api" --http '' </dev/null >"$dir/node.log" 2>&1 &
	local pid=$!
	until "$ikada" status --all >/dev/null 2>&1; do
		kill -0 "$pid" 2>/dev/null || { log=$dir/node.log; die "the node did not start"; }
		sleep 0.05
	done
	disown "$pid" # the shell has nothing to say about its end
}

# tasks names the app's tasks.
tasks() { "$ikada" ps --app hello | awk 'NR > 1 { print $1, $2 }'; }

# The load runs beside a deployment, and has to have seen just the versions that it should.
load_pid=''
load_start() {
	"$dir/load" -url "$url" -want "$1" >"$dir/load.out" 2>&1 &
	load_pid=$!
	sleep 1 # the versions before the swap are to be seen too
}
load_stop() {
	local code=0
	sleep 1
	kill -TERM "$load_pid"
	wait "$load_pid" || code=$?
	load_pid=''
	say "${dim}the client beside it (half of its connections kept, half new):$plain"
	indent <"$dir/load.out"
	[[ $code == 0 ]] || die "the client met what it should not have"
}
trap '[[ -z $load_pid ]] || kill "$load_pid" 2>/dev/null || true' EXIT

[[ $(id -u) == 0 ]] || { echo "the demonstration needs root: containers, a bridge, a firewall table" >&2; exit 1; }
[[ -x $ikada ]] || { echo "bin/ikada is missing: run make build" >&2; exit 1; }

case ${1:-} in
stop)
	if [[ ! -d $dir ]]; then echo "No demonstration is running."; exit 0; fi
	remove
	echo "The demonstration's node is shut down; nothing of it is left."
	exit 0
	;;
'') ;;
*) echo "usage: e2e/demo.sh [stop]" >&2; exit 2 ;;
esac

began=$SECONDS
if [[ -d $dir ]]; then
	step "A former demonstration is there: removing it"
	remove
fi
for address in "${api/:/ }" "127.0.0.1 $port"; do
	read -r host number <<<"$address"
	if (exec 3<>"/dev/tcp/$host/$number") 2>/dev/null; then
		echo "port $number is in use: set IKADA_DEMO_PORT (the app's) or IKADA_DEMO_API (the node's) to another" >&2
		exit 1
	fi
done
mkdir -p "$dir"
cp -r examples/hello "$app"
go build -o "$dir/load" ./e2e/demo

step "1. A node: $api, data in $node"
node_start
sed "s/; stop with Ctrl-C.*//" "$dir/node.log" | indent

step "2. A base image, golang:1.26, made of this machine's Go and pushed to the node's registry"
if [[ ! -x /bin/busybox ]]; then
	say "installing Debian's busybox-static, for the image's shell"
	{ apt-get install -y -qq busybox-static || { apt-get update -qq && apt-get install -y -qq busybox-static; }; } >>"$log" 2>&1 ||
		die "busybox-static could not be installed"
fi
IKADA_TOKEN=$("$ikada" token create demo) go run ./e2e/baseimage golang "$GO_IMAGE" >>"$log" 2>&1 || die "the base image could not be pushed"
say "$GO_IMAGE"

step "3. hello v1, built from its source (a first build also compiles Go's library: about 15 s)"
deploy 0
"$dir/load" -url "$url" -want v1 -for 1s >"$dir/load.out" || die "v1 does not answer: $(cat "$dir/load.out")"
say "$url answers: hello v1"

step "4. v2 in its place, while a client asks 1000 times a second"
become v2 false
load_start v1,v2
deploy 0
load_stop
receipt failed 0

step "5. v3, whose health check fails, under the same load: it is to be taken back by itself"
become v3 true
load_start v2
deploy 3
load_stop
receipt failed 0
say "v3 answered no request; v2 never stopped answering. Exit code of ikada deploy: 3"

step "6. ikada itself is killed (kill -9) and started again, under the same load"
before=$(tasks)
load_start v2
kill -KILL "$(cat "$node/lock")"
sleep 1
node_start
load_stop
[[ $(tasks) == "$before" ]] || die "tasks were replaced: $before, then $(tasks)"
say "Tasks and balancer outlived ikada, which took them over again."

step "Done after $((SECONDS - began)) s. Failed requests: 0"
cat <<END
  hello v2 goes on at  $url
  look around with     export IKADA_HOST=$IKADA_HOST
                       bin/ikada status      bin/ikada ps       bin/ikada logs
                       bin/ikada releases    bin/ikada events   bin/ikada rollback
  its source is in     $app
  stop it with         make demo-stop

END
"$ikada" status --app hello | indent
