#!/bin/sh
# The first process of a machine of User Mode Linux, whose kernel divides by control groups of version 2: gives user $TSBUILD_UID one of
# them, and runs what $TSBUILD_SCRIPTS holds in it. The file system is this machine's own.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Nothing is written to this machine but what the scripts print.
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/home && chown "$TSBUILD_UID" /mnt/home
ip link set lo up
group=/sys/fs/cgroup/delegated
echo '+memory +cpu +pids' >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group
chown "$TSBUILD_UID" $group $group/cgroup.procs $group/cgroup.subtree_control $group/cgroup.threads
for script in "$TSBUILD_SCRIPTS"/*.sh; do
  sh -c 'echo $$ >"$0/cgroup.procs"; exec sh "$1"' $group "$script" >"$script.out" 2>"$script.err"
  find $group -mindepth 1 -type d >"$script.groups"
done
sync
halt -f -p
