#!/bin/sh
# Makes the secrets of docker-compose.yml, each 256 random bits, in docker/secrets (or the folder that is named).
# What is there stays: running it again changes nothing. The folder is yours alone; the files in it can be read by the
# accounts that the containers run as, to which they are mounted one by one.
set -eu
folder=${1:-"$(dirname "$0")/secrets"}
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

keep() {
    [ -e "$folder/$1" ] && return
    cat >"$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}

for name in postgres_password mds_admin_password mds_service_password grafana_admin_password \
    grafana_reader_password; do
    random | keep "$name"
done
printf 'postgresql://mds_admin:%s@db:5432/market' "$(cat "$folder/mds_admin_password")" | keep database_url
for name in metrics_token admin_token; do
    printf 'mds_%s' "$(random)" | keep "$name"
done

digest() { sha256sum "$folder/$1" | cut -d ' ' -f 1; }

printf 'prometheus read sha256:%s\noperator admin sha256:%s\n' "$(digest metrics_token)" "$(digest admin_token)" |
    keep tokens
