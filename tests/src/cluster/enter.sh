# Makes a node of this process: a container in the machine's own file system. $1: its cgroup, $2: its network namespace,
# $3: what its first process runs. Whoever ends this process ends every process of the node.
set -eu
for controller in /sys/fs/cgroup/*; do
    [ -d "$controller" ] && [ ! -L "$controller" ] || continue
    group=$controller/$1
    mkdir "$group"
    # A fresh one has neither, and takes no process then.
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$controller/$file" ] || cat "$controller/$file" >"$group/$file"
    done
    echo $$ >"$group/cgroup.procs"
done
exec nsenter --net="$2" -- unshare --mount --pid --cgroup --fork --kill-child --mount-proc -- sh "$3"
