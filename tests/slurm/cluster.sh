#!/usr/bin/env bash
# A real SLURM of one node on this machine: `cluster.sh start FOLDER`, `cluster.sh stop FOLDER`. As root, without systemd, on loopback.
# Needs Debian's slurm-wlm and munge. /etc/slurm/slurm.conf, where jobs look for it, is linked to FOLDER; one that is there is refused.
# Two partitions; in one of them the node gives out a GPU that is none.
set -euo pipefail
folder=$(realpath -m "$2")
config=/etc/slurm/slurm.conf gpus=/etc/slurm/gres.conf

start() {
  for file in "$config" "$gpus"; do [ ! -e "$file" ] || { echo "this machine has a SLURM already: $file" >&2; return 1; }; done
  mkdir -p "$folder"/{state,spool,log} /run/munge
  chown munge: /run/munge
  pgrep -x munged >/dev/null || { runuser -u munge -- munged --force && touch "$folder/munged"; }
  local host cpus memory
  host=$(hostname -s) cpus=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat >"$folder/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
MinJobAge=600
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# A job above its memory is killed, as cgroups do elsewhere.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
CONF
  echo 'Name=gpu File=/dev/null' >"$folder/gres.conf"
  ln -sf "$folder/slurm.conf" "$config"
  ln -sf "$folder/gres.conf" "$gpus"
  slurmctld
  slurmd
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && return
    sleep 0.5
  done
  echo "SLURM did not start; see $folder/log" >&2
  return 1
}

stop() {
  for daemon in slurmd slurmctld; do
    if [ -f "$folder/$daemon.pid" ]; then kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true; fi
  done
  if [ -f "$folder/munged" ]; then pkill -x munged || true; fi
  if [ "$(readlink "$config")" = "$folder/slurm.conf" ]; then rm "$config" "$gpus"; fi
}

"$1"
