# Cleans up after a private containerd, however its test ended: standard input closes when the test does.
# $1: the instance's directory, which holds c.sock, containerd.pid, root/ and state/.
trap '' INT TERM HUP
read -r _
dir=$1
kill -KILL "$(cat "$dir/containerd.pid")" 2>/dev/null

# Calls $1 with every place where the cgroup $2 may be: one per v1 hierarchy, or the v2 tree.
each_cgroup() {
    for tree in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        [ -e "${tree%/}$2/cgroup.procs" ] && "$1" "${tree%/}$2"
    done
}
kill_cgroup() { kill -KILL $(cat "$1/cgroup.procs") 2>/dev/null; }
remove_cgroup() { rmdir "$1" "${1%/*}" 2>/dev/null; }

shims() {
    grep -alF "$dir/c.sock" /proc/[0-9]*/cmdline 2>/dev/null | while read -r f; do
        pid=${f#/proc/}; pid=${pid%/cmdline}
        case "$(readlink "/proc/$pid/exe")" in *containerd-shim*) echo "$pid" ;; esac
    done
}

# Containers first: their shims reap them.
for bundle in "$dir"/state/io.containerd.runtime.v2.task/*/*; do
    [ -d "$bundle" ] || continue
    id=${bundle##*/}; namespace=${bundle%/*}; namespace=${namespace##*/}
    init=$(cat "$bundle/init.pid")
    kill -KILL "$init" 2>/dev/null
    cgroup=$(sed -n 's/.*"cgroupsPath":"\([^"]*\)".*/\1/p' "$bundle/config.json" 2>/dev/null)
    [ -n "$cgroup" ] && each_cgroup kill_cgroup "$cgroup"
    for try in 1 2 3 4 5 6 7 8 9 10; do
        grep -qs 'State:.[^Z]' "/proc/$init/status" || break
        sleep 0.05
        [ -n "$cgroup" ] && each_cgroup kill_cgroup "$cgroup"
    done
    [ -n "$cgroup" ] && each_cgroup remove_cgroup "$cgroup"
    rm -f "$(sed 's,^unix://,,' "$bundle/address" 2>/dev/null)"
    rm -rf "/run/containerd/runc/$namespace/$id"
    rmdir "/run/containerd/runc/$namespace" 2>/dev/null
done
kill -KILL $(shims) 2>/dev/null
awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount"
done
rm -rf --one-file-system "$dir"
