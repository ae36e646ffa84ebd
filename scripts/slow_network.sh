#!/bin/sh
# Run a prsgd command on P hosts that talk over a slow network, all of them on this machine.
#
#   sudo scripts/slow_network.sh 100mbit 2 train workers=8 interval=8
#   sudo scripts/slow_network.sh 1gbit 4 advise --calibrate workers=4
#
# Each host is a network namespace with a link of that rate in either direction (tc tbf) to a bridge
# in a namespace of its own; torchrun starts one process in each. All of it is removed at the end.
set -eu
[ $# -ge 3 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
rate=$1 hosts=$2
shift 2
name=prsgd$$
bridge=$name-b
python=${PYTHON:-$(dirname "$0")/../.venv/bin/python}

clean() {
    trap - EXIT INT TERM
    for host in $(seq 0 $((hosts - 1))); do
        ip netns pids "$name-$host" 2>/dev/null | xargs -r kill 2>/dev/null || true
        ip netns delete "$name-$host" 2>/dev/null || true
    done
    ip netns delete "$bridge" 2>/dev/null || true
}
trap clean EXIT
trap 'clean; exit 130' INT
trap 'clean; exit 143' TERM

ip netns add "$bridge"
ip netns exec "$bridge" ip link add br0 type bridge
ip netns exec "$bridge" ip link set br0 up
for host in $(seq 0 $((hosts - 1))); do
    space=$name-$host
    ip netns add "$space"
    ip link add eth0 netns "$space" type veth peer name "port$host" netns "$bridge"
    ip netns exec "$bridge" ip link set "port$host" master br0 up
    ip netns exec "$space" ip address add "10.77.0.$((host + 1))/24" dev eth0
    ip netns exec "$space" ip link set lo up
    ip netns exec "$space" ip link set eth0 up
    ip netns exec "$space" tc qdisc add dev eth0 root tbf rate "$rate" burst 64kb latency 50ms
    ip netns exec "$bridge" tc qdisc add dev "port$host" root tbf rate "$rate" burst 64kb latency 50ms
done

cores=$(nproc)
OMP_NUM_THREADS=$((cores > hosts ? cores / hosts : 1))
GLOO_SOCKET_IFNAME=eth0
export OMP_NUM_THREADS GLOO_SOCKET_IFNAME
pids=
for host in $(seq 0 $((hosts - 1))); do
    ip netns exec "$name-$host" "$python" -m torch.distributed.run --nnodes="$hosts" \
        --nproc-per-node=1 --node-rank="$host" --rdzv-backend=static --rdzv-id="$name" \
        --master-addr=10.77.0.1 --master-port=29500 --local-addr="10.77.0.$((host + 1))" \
        -m prsgd "$@" "threads=$OMP_NUM_THREADS" &
    pids="$pids $!"
done
code=0
for pid in $pids; do wait "$pid" || code=$?; done
exit $code
