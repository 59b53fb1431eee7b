# The first process of a node: containerd, kubelet and kube-proxy, until the node is ended. In: variables, and configurations
# in the folder $NODE. What they write stays in that folder, or ends with the node.
set -eu

# The node's own part of the machine's cgroups is all of them that it sees.
for controller in /sys/fs/cgroup/*; do
    [ -d "$controller" ] && [ ! -L "$controller" ] || continue
    case $(basename "$controller") in
        unified) type=cgroup2 options=rw ;;
        systemd) type=cgroup options=none,name=systemd ;;
        *) type=cgroup options=$(basename "$controller") ;;
    esac
    umount "$controller"
    mount -t "$type" -o "$options" none "$controller"
done
mount --make-rshared /
mount -t tmpfs -o mode=755 node /run
mkdir -p "$NODE/lib" "$NODE/log" "$NODE/sysctl"
mount --bind "$NODE/lib" /var/lib
mount --bind "$NODE/log" /var/log
# A kubelet sets these, and they are the whole machine's: it sets copies.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    copy=$NODE/sysctl/$(echo "$name" | tr / .)
    cat "/proc/sys/$name" >"$copy"
    mount --bind "$copy" "/proc/sys/$name"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
# A client that nobody answers leaves behind where it was led, and the next one from its port is led there, too, whatever the
# Service's rules say by then: for two minutes, as the kernel comes. All clients of a trial are on one machine, whose ports soon
# come round again.
echo 5 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent

containerd --config "$NODE/containerd.toml" >"$NODE/containerd.log" 2>&1 &
tries=0
until ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || {
        echo "containerd does not answer" >&2
        exit 1
    }
    sleep 0.1
done
for image in $IMAGES; do
    ctr --namespace k8s.io images import "$image" >/dev/null
done
# shellcheck disable=SC2086 # one word per flag is the point
"$KUBELET" --config="$NODE/kubelet.yaml" --kubeconfig="$NODE/kubelet.kubeconfig" --hostname-override="$NAME" \
    --node-ip="$ADDRESS" $KUBELET_FLAGS >"$NODE/kubelet.log" 2>&1 &
"$KUBE_PROXY" --config="$NODE/kube-proxy.yaml" >"$NODE/kube-proxy.log" 2>&1 &
# Who has lost its parent is this one's child: waiting reaps it.
wait
