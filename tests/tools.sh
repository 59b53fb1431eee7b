#!/bin/sh
# Installs what the tests need and this machine lacks. Debian, as root.
#
# Starts no daemon: a policy-rc.d that forbids it stands while packages are
# installed, and is put back as it was afterwards. When nothing is missing it
# asks dpkg only, and is done at once.
set -eu

# package        what the tests use of it
wanted='
bind9            real authoritative server: named, rndc
bind9-dnsutils   dig, nsupdate
knot             real authoritative server: knotd, knotc
nsd              real authoritative server: nsd
nginx-light      real HTTP, TLS and PROXY protocol backend
openssl          real TLS client, certificates
curl             real HTTP and TLS client
nodejs           real HTTP and WebSocket backend: node
nghttp2-client   real HTTP/2 clients: nghttp, h2load
python3-grpcio   real gRPC server and client
python3-websockets  real WebSocket client
python3-requests  real HTTP client
python3-slixmpp  real XMPP client
python3-paho-mqtt  real MQTT 5 client
prosody          real XMPP server
mosquitto        real MQTT server
nftables         nft: drops packets inside a namespace
containerd       runs pods on the nodes of the test cluster: containerd, ctr
runc             starts their containers
containernetworking-plugins  connects pods to their node: /usr/lib/cni
iptables         ports of pods on their node
iproute2         ip, ss: namespaces, links, listening sockets
'

missing=''
while read -r package _; do
    [ -n "$package" ] || continue
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done <<LIST
$wanted
LIST

if [ -z "$missing" ]; then
    echo "tools: nothing is missing"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "tools: missing:$missing; run this as root to install them" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
saved=''
restore() {
    if [ -n "$saved" ]; then mv -f "$saved" "$policy"; else rm -f "$policy"; fi
}
if [ -e "$policy" ]; then
    saved=$(mktemp "$policy.XXXXXX")
    cp -p "$policy" "$saved"
fi
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "tools: installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# A machine whose package lists are fresh enough needs no update; one that
# cannot find or fetch a package by the lists it has gets one.
# shellcheck disable=SC2086 # one word per package is the point
apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
echo "tools: installed:$missing"
