#!/bin/sh
# make-certificate.sh - a certificate of one's own for trying out, if there is none yet. The image `nginx` runs what lies in /docker-entrypoint.d/
# before it starts (compose.stack.yaml). Browsers warn of it; put a real one in its place: busbar.pem (with its chain) and busbar.key.
set -eu
dir=${1:-/etc/nginx/tls}
[ ! -e "$dir/busbar.pem" ] || exit 0
mkdir -p "$dir"
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=localhost \
	-addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$dir/busbar.key" -out "$dir/busbar.pem" 2>/dev/null
