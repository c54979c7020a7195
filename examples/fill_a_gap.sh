#!/usr/bin/env bash
# From an empty database to a filled gap, over HTTP: migrate, make a tenant, upload bars with holes, see the gaps, plan a
# backfill, start it, watch it, see that nothing is missing and that the rollup is right.
#
# Needs bash, curl and python3 (to read JSON), a service, and a worker that may read files below DATASTORE_SOURCE_ROOT. The
# store has to have no tenant `fill-a-gap`: a second run finds the gap filled. With the quick start's variables:
#
#   datastore token create --name me --scope admin --json >token.json
#   made() { python3 -c 'import json, sys; print(json.load(open("token.json"))[sys.argv[1]])' "$1"; }
#   export TOKEN="$(made token)" DATASTORE_TOKENS="$(made line)" DATASTORE_SOURCE_ROOT="$PWD/vendor"
#   datastore serve & datastore worker &
#   examples/fill_a_gap.sh http://127.0.0.1:8080
set -euo pipefail

url=${1:?the address of the service, such as http://127.0.0.1:8080}
: "${TOKEN:?a token of scope admin}"
: "${DATASTORE_SOURCE_ROOT:?the folder that the service and the worker may read files in}"

# ask METHOD PATH [more of curl's options]: prints the answer's body; ends the script where it is an error.
ask() {
  local method=$1 path=$2
  shift 2
  curl --silent --show-error --fail-with-body --request "$method" --header "@$headers" "$@" "$url$path"
}

# field NAME: one field of the JSON document on standard input.
field() {
  python3 -c '
import json, sys
answer = sys.stdin.read()
try:
    print(json.loads(answer)[sys.argv[1]])
except (ValueError, KeyError):
    sys.exit(f"an answer without {sys.argv[1]}: {answer}")
' "$1"
}

# expect WHAT WANTED FOUND
expect() {
  [[ $2 == "$3" ]] || { echo "$1: $3 and not $2" >&2; exit 1; }
  echo "$1: $3"
}

# bars: two hours of minutes, a bar a line.
bars() {
  python3 - <<'PYTHON'
import json
from datetime import datetime, timedelta, timezone
start = datetime(2024, 1, 2, 14, tzinfo=timezone.utc)
for minute in range(120):
    price = 100 + minute
    print(json.dumps({
        "vendor": "acme", "symbol": "AAPL", "timeframe": "1m", "ts": (start + timedelta(minutes=minute)).isoformat(),
        "open_price": price, "high_price": price + 1, "low_price": price - 1, "close_price": price + 0.5, "volume": 10,
    }))
PYTHON
}

# The token goes by a file and not by an argument, which every process of the machine could read.
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT
echo "Authorization: Bearer $TOKEN" >"$headers"

curl --silent --output /dev/null --fail --retry 10 --retry-delay 1 --retry-connrefused "$url/health" ||
  { echo "no service answers at $url" >&2; exit 1; }

schema=$(ask POST /migrate | field after)
echo "schema: $schema"
tenant=$(ask POST /tenants --json '{"name": "fill-a-gap"}' --header 'Idempotency-Key: fill-a-gap' | field id)
echo "tenant: $tenant"

# The vendor has every bar; what was uploaded lacks minutes 10 to 19 and 60.
mkdir -p "$DATASTORE_SOURCE_ROOT/acme"
bars >"$DATASTORE_SOURCE_ROOT/acme/AAPL.ndjson"
written=$(bars | sed -e '11,20d' -e '61d' |
  ask POST "/tenants/$tenant/rows/bars" --header 'Content-Type: application/x-ndjson' --data-binary @- | field written)
expect "bars uploaded" 109 "$written"

window='vendor=acme&timeframe=1m&start=2024-01-02T14:00:00Z&end=2024-01-02T16:00:00Z'
expect "bars missing" 11 "$(ask GET "/tenants/$tenant/gaps?$window&calendar=24/7" | field missing)"

backfill=$(printf '{"tenant": "%s", "vendor": "acme", "timeframe": "1m", "calendar": "24/7",
  "start": "2024-01-02T14:00:00Z", "end": "2024-01-02T16:00:00Z",
  "source": {"type": "files", "path": "acme/{symbol}.ndjson"}}' "$tenant")
expect "bars planned" 11 "$(ask POST /backfills/plan --json "$backfill" | field missing)"

# Asked for twice with one key, as after a time-out, it is one backfill.
id=$(ask POST /backfills --json "$backfill" --header 'Idempotency-Key: fill-a-gap' | field id)
again=$(ask POST /backfills --json "$backfill" --header 'Idempotency-Key: fill-a-gap' | field id)
expect "backfill" "$id" "$again"

state=queued
for _ in $(seq 300); do
  found=$(ask GET "/backfills/$id")
  [[ $(field state <<<"$found") == "$state" ]] || { state=$(field state <<<"$found"); echo "backfill is $state"; }
  [[ $state == queued || $state == running ]] || break
  sleep 0.2
done
expect "backfill ended" succeeded "$state"

expect "bars missing" 0 "$(ask GET "/tenants/$tenant/gaps?$window&calendar=24/7" | field missing)"
rollup=$(ask GET "/tenants/$tenant/bars?${window/1m/1h}&symbol=AAPL&rollup=true" | python3 -c '
import json, sys
for bar in json.load(sys.stdin)["items"]:
    print(*(f"{bar[name]:g}" for name in ("open_price", "high_price", "low_price", "close_price", "volume")), end="; ")
')
expect "hours (open, high, low, close, volume)" "100 160 99 159.5 600; 160 220 159 219.5 600; " "$rollup"
