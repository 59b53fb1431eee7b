#!/bin/sh
# Packs static programs into an image from nothing, as a tar that `docker load`, `ctr images import`, `podman load` and
# `skopeo copy docker-archive:OUT.tar` take.
#
#   pack.sh OUT.tar NAME:TAG USER PROGRAM...
#
# Each PROGRAM is a file, or FILE=/PATH/IN/THE/IMAGE (else it stands at the root); it is stripped on its way, and the first is
# the entry point. USER is a number, as Kubernetes wants it to see that it is not root. Equal programs make equal bytes: no
# time, no owner, no builder.
set -eu

[ $# -ge 4 ] || {
    echo "usage: $0 OUT.tar NAME:TAG USER PROGRAM..." >&2
    exit 2
}
out=$1 name=$2 user=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$work/root" "$work/image"
entry='' architecture=''
for program in "$@"; do
    file=${program%%=*}
    place=/$(basename "$file")
    [ "$file" = "$program" ] || place=${program#*=}
    if readelf --program-headers --wide "$file" | grep -q INTERP; then
        echo "pack: $file needs libraries that an image from nothing lacks; \`make image\` and \`make quick\` link statically" >&2
        exit 1
    fi
    case $(readelf --file-header "$file" | sed -n 's/^ *Machine: *//p') in
    *X86-64*) architecture=amd64 ;;
    AArch64*) architecture=arm64 ;;
    *)
        echo "pack: $file is no program for x86-64 or AArch64" >&2
        exit 1
        ;;
    esac
    mkdir -p "$work/root$(dirname "$place")"
    strip --strip-all -o "$work/root$place" "$file"
    chmod 755 "$work/root$place"
    entry=${entry:-$place}
done
# World-readable folders, whatever the caller's umask is.
find "$work/root" -type d -exec chmod 755 {} +
unpacked=$(du --apparent-size --bytes --summarize "$work/root" | cut -f 1)

# Members without a leading "./": there are readers that look for exact names.
pack() {
    (cd "$1" && tar --create --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --file "$2" -- *)
}
digest() {
    sha256sum "$1" | cut -d ' ' -f 1
}

pack "$work/root" "$work/layer.tar"
layer=$(digest "$work/layer.tar")
gzip --no-name <"$work/layer.tar" >"$work/image/$layer.tar.gz"
cat >"$work/config.json" <<CONFIG
{"architecture":"$architecture","os":"linux","created":"1970-01-01T00:00:00Z","config":{"User":"$user","Entrypoint":["$entry"],"WorkingDir":"/","Labels":{"org.opencontainers.image.title":"${name%:*}","org.opencontainers.image.version":"${name##*:}","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"1970-01-01T00:00:00Z"}]}
CONFIG
config=$(digest "$work/config.json")
mv "$work/config.json" "$work/image/$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s.tar.gz"]}]\n' "$config" "$name" "$layer" >"$work/image/manifest.json"
chmod 644 "$work/image"/*
mkdir -p "$(dirname "$out")"
# Renamed when done: what is there is whole.
pack "$work/image" "$work/image.tar"
mv "$work/image.tar" "$out.new"
mv "$out.new" "$out"
echo "$(wc -c <"$out") $unpacked" | awk -v out="$out" -v name="$name" '{printf "%s: %s, %.1f MB, %.1f MB unpacked\n", out, name, $1 / 1e6, $2 / 1e6}'
