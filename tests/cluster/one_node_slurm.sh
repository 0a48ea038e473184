#!/usr/bin/env bash
# A SLURM of one node on this Debian machine, for testing the cluster profile; root only. No systemd, cgroups or accounting.
#   tests/cluster/one_node_slurm.sh up | down
# The accelerator is a stand-in: a job that asks for it sees CUDA_VISIBLE_DEVICES=0.
set -euo pipefail
config=/etc/slurm/slurm.conf
mark="# written by one_node_slurm.sh"

down() {
  for name in slurmctld slurmd; do
    pid=$(cat "/run/$name.pid" 2>/dev/null || true)
    if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
  done
  pid=$(cat /run/munge/munged.pid 2>/dev/null || true)
  if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
  if grep -qsF "$mark" "$config"; then rm -f "$config" /etc/slurm/gres.conf; fi
}

case "${1:-}" in
  up) ;;
  down) down; exit 0 ;;
  *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac

# a machine that belongs to a real cluster is left alone
if [ -e "$config" ] && ! grep -qF "$mark" "$config"; then
  echo "$config is somebody else's: this machine belongs to a cluster" >&2; exit 3
fi
[ "$(id -u)" = 0 ] || { echo "only root can start a SLURM" >&2; exit 3; }
if ! command -v slurmctld > /dev/null || ! command -v munged > /dev/null; then
  command -v apt-get > /dev/null || { echo "there is no apt-get to install SLURM with" >&2; exit 3; }
  { timeout 120 apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
      timeout 300 apt-get install -y -qq --no-install-recommends slurm-wlm munge; } > /dev/null 2>&1 ||
    { echo "Debian's packages slurm-wlm and munge cannot be installed" >&2; exit 3; }
fi

host=$(hostname -s)
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))
state=/var/lib/slurm-one-node
rm -rf "$state"
mkdir -p "$state/ctld" "$state/d" /etc/slurm /run/munge
chown munge:munge /run/munge
# At its default place: the executor takes SLURM_* out of a job's environment, SLURM_CONF too.
cat > "$config" <<CONF
$mark
ClusterName=onenode
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
MinJobAge=600
KillWait=30
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(env -u OMP_NUM_THREADS nproc) RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=2-00:00:00 State=UP
PartitionName=gpu Nodes=$host MaxTime=1-00:00:00 State=UP
CONF
echo "NodeName=$host Name=gpu Count=1 File=/dev/null" > /etc/slurm/gres.conf
pgrep -x munged > /dev/null || runuser -u munge -- /usr/sbin/munged
slurmctld
slurmd
for _ in $(seq 60); do
  if [ "$(sinfo -h -p cpu -o %T 2> /dev/null)" = idle ]; then exit 0; fi
  sleep 0.5
done
tail -n 5 "$state"/*.log >&2
echo "SLURM was installed but did not come up" >&2
down
exit 1
