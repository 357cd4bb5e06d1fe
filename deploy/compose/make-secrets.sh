#!/bin/sh
# Make the secrets of compose.yaml, each once: existing files stay. Usage: deploy/compose/make-secrets.sh [FOLDER]
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"

make() { # NAME COMMAND...
    name=$1
    shift
    [ -s "$folder/$name" ] || { "$@" >"$folder/.$name" && mv "$folder/.$name" "$folder/$name"; }
}
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# A key is `saa_`, 12 characters of a-z2-7, `_` and 43 of base64url, as `saa keys generate` prints it.
random() { LC_ALL=C tr -dc "$1" </dev/urandom | head -c "$2"; }
key() { printf 'saa_%s_%s' "$(random a-z2-7 12)" "$(random A-Za-z0-9_- 43)"; }

make admin_key key
make metrics_key key
make postgres_password password
make grafana_password password
make store printf 'postgresql://saa:%s@postgres:5432/memories' "$(cat "$folder/postgres_password")"
# The containers' users read them, and nobody else passes the folder.
chmod 0644 "$folder"/*
echo "The secrets are in $folder; admin_key is the key of all scopes."
