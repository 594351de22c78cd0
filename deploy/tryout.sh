#!/bin/sh
# Runs an image as it should be run, on a read-only root without capabilities, kills it, starts it again and stops it:
#   deploy/tryout.sh ENGINE IMAGE STORE_URL [OPTIONS OF `ENGINE run`]
# It needs curl, a Postgres that the image reaches on the host's network, and port 8080.
set -eu
engine=$1 image=$2 store=$3
shift 3
folder=$(mktemp -d) name=monitor-tryout-$$
trap '"$engine" rm -f "$name" >/dev/null 2>&1; rm -rf "$folder"' EXIT
chmod 755 "$folder"
printf 'store: {url: "%s"}\nweb: {listen: "127.0.0.1:8080"}\nmodels: {}\n' "$store" >"$folder/monitor.yaml"
set -- --network host --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --volume "$folder:/srv/monitor:ro" "$@"

ready() {
    for _ in $(seq 60); do
        curl -fsS -o /dev/null http://127.0.0.1:8080/readyz 2>/dev/null && echo "$1: ready" && return
        sleep 1
    done
    echo "$1: not ready within a minute" >&2
    "$engine" logs "$name" >&2
    exit 1
}

echo "size: $("$engine" image inspect --format '{{.Size}}' "$image" | awk '{printf "%.0f MB", $1 / 1e6}')"
"$engine" run --rm "$@" "$image" db upgrade
"$engine" run --detach --name "$name" "$@" "$image" >/dev/null
ready started
echo "runs as: $("$engine" exec "$name" id)"
"$engine" exec "$name" python -c 'open("/opt/monitor/x", "w")' 2>&1 | tail -1
"$engine" exec "$name" python -c 'print([line.strip() for line in open("/proc/1/status") if line.startswith("CapEff")])'
"$engine" exec "$name" python -c 'import urllib.request; print("healthz:", urllib.request.urlopen("http://127.0.0.1:8080/healthz", timeout=4).status)'
"$engine" kill --signal KILL "$name" >/dev/null
"$engine" start "$name" >/dev/null
ready "killed and started again"
"$engine" stop --time 20 "$name" >/dev/null
echo "stopped by SIGTERM: exit $("$engine" inspect --format '{{.State.ExitCode}}' "$name")"
