#!/bin/sh
# Train on two hosts, take one away in the middle, and bring it back. Both are on this machine.
#
#   sudo scripts/two_hosts.sh train workers=6 out=/tmp/two reduction=exact checkpoint_seconds=2
#
# Each host is a network namespace, joined to the other by a bridge; torchrun's agent runs in each, as
# it would on two machines, and the rendezvous in a third place that nobody takes away. After AWAY
# seconds (25) everything on the second host is killed and its link goes down; after BACK more (25) it
# returns. The run ends as it would have ended. All of it is removed at the end. Nothing but these
# namespaces reaches the ports of torchrun and its ranks, which ask for no password.
set -eu
[ $# -ge 1 ] || { sed -n '2,10p' "$0" >&2; exit 2; }
name=prsgd$$
python=${PYTHON:-$(dirname "$0")/../.venv/bin/python}
AWAY=${AWAY:-25} BACK=${BACK:-25}

clean() {
    trap - EXIT INT TERM
    for place in 1 2 3; do
        ip netns pids "$name-$place" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns delete "$name-$place" 2>/dev/null || true
    done
}
trap clean EXIT
trap 'clean; exit 130' INT
trap 'clean; exit 143' TERM

for place in 3 1 2; do
    ip netns add "$name-$place"
    ip netns exec "$name-$place" ip link set lo up
done
ip netns exec "$name-3" ip link add br0 type bridge
ip netns exec "$name-3" ip address add 10.78.0.3/24 dev br0
ip netns exec "$name-3" ip link set br0 up
for host in 1 2; do
    ip link add eth0 netns "$name-$host" type veth peer name "port$host" netns "$name-3"
    ip netns exec "$name-3" ip link set "port$host" master br0 up
    ip netns exec "$name-$host" ip address add "10.78.0.$host/24" dev eth0
    ip netns exec "$name-$host" ip link set eth0 up
done

ip netns exec "$name-3" "$python" -c '
import time
from datetime import timedelta
from torch.distributed import TCPStore
store = TCPStore("10.78.0.3", 29400, is_master=True, wait_for_workers=False)
time.sleep(86400)' &
sleep 3

export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 GLOO_SOCKET_IFNAME=eth0 OMP_NUM_THREADS=1
patience=keep_alive_interval=1,keep_alive_max_attempt=3,last_call_timeout=3,join_timeout=120
patience=$patience,close_timeout=5,read_timeout=20,is_host=0
on() {  # HOST prsgd-args: an agent on a host
    host=$1
    shift
    ip netns exec "$name-$host" "$python" -m torch.distributed.run --nnodes=1:2 --nproc-per-node=1 \
        --max-restarts=100 --rdzv-backend=c10d --rdzv-endpoint=10.78.0.3:29400 --rdzv-id="$name" \
        --rdzv-conf="$patience" --local-addr="10.78.0.$host" --monitor-interval=0.5 \
        -m prsgd "$@" timeout=10 &
}
on 1 "$@"
first=$!
on 2 "$@"
sleep "$AWAY"
if kill -0 $first 2>/dev/null; then
    echo "-- host 2 is gone"
    ip netns exec "$name-2" ip link set eth0 down
    ip netns pids "$name-2" | xargs -r kill -9
    sleep "$BACK"
    if kill -0 $first 2>/dev/null; then
        echo "-- host 2 is back"
        ip netns exec "$name-2" ip link set eth0 up
        on 2 "$@"
    fi
fi
code=0
wait $first || code=$?
exit $code
