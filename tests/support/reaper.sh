# Cleans up after a private containerd, however its test ended: standard input closes when the test does.
# $1: the instance's directory, which holds c.sock, containerd.pid, root/ and state/, and below scratch/ what tests made.
# $2: its containerd namespace.
trap '' INT TERM HUP
read -r _
dir=$1

# Who was started with a path of the instance; all but us, who are too.
of_instance() {
    grep -alF "$dir/" /proc/[0-9]*/cmdline 2>/dev/null | while read -r f; do
        pid=${f#/proc/}; pid=${pid%/cmdline}
        case "$(readlink "/proc/$pid/exe")" in *$1*) echo "$pid" ;; esac
    done
}
# First leasehold: it would start its log process again.
for name in leasehold leasehold containerd; do
    for pid in $(of_instance "$name"); do
        case "$(readlink "/proc/$pid/exe")" in *containerd-shim*) ;; *) kill -KILL "$pid" 2>/dev/null ;; esac
    done
done

# Calls $1 with every place where the cgroup $2 may be: one per v1 hierarchy, or the v2 tree.
each_cgroup() {
    for tree in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        [ -e "${tree%/}$2/cgroup.procs" ] && "$1" "${tree%/}$2"
    done
}
kill_cgroup() { kill -KILL $(cat "$1/cgroup.procs") 2>/dev/null; }
remove_cgroup() { rmdir "$1" "${1%/*}" 2>/dev/null; }

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
kill -KILL $(of_instance containerd-shim) 2>/dev/null
# Pods whose containers are gone, or never were.
for pod in "$dir"/scratch/*/state/agent/pods/* "$dir"/scratch/*/*/pods/*; do
    [ -d "$pod" ] && each_cgroup remove_cgroup "/leasehold/pod${pod##*/}"
done
# What containers of tests without an agent were in.
each_cgroup remove_cgroup "/$2"
[ -d "/run/containerd/runc/$2" ] && rmdir "/run/containerd/runc/$2" 2>/dev/null
awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount"
done
rm -rf --one-file-system "$dir"
