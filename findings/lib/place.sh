# Sourced by findings that made a temporary folder ($folder), which is the current one from then on. A
# node that was started (its process in `node`) is stopped before the folder goes, however the script
# ends.
# `cannot WORDS` ends it with 2: the finding could not be tried.
node=
stop() {
	test -n "$node" || return 0
	kill "$node" 2>/dev/null || true
	wait "$node" 2>/dev/null || true
	node=
}
leave() {
	stop
	cd /
	rm -rf "$folder"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$folder"

cannot() {
	echo "$*" >&2
	exit 2
}

# ask METHOD PARAMS: the answer of the node at $port
ask() {
	curl -s -H 'Content-Type: application/json' "http://127.0.0.1:$port" \
		-d "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":$2}" || true
}

# await_node LOG: until it answers, for a minute at most
await_node() {
	for turn in $(seq 120); do
		case "$(ask eth_chainId '[]')" in *result*) return 0 ;; esac
		kill -0 "$node" 2>/dev/null || break
		sleep 0.5
	done
	tail -n 20 "$1" >&2
	cannot "The node did not come up at port $port."
}
