"""Two nodes of a Ray cluster on this machine, for tests: prints its address, then kills the second
node when a line is read, and ends with its input."""

import sys

from ray.cluster_utils import Cluster

STORE = 100 * 1024**2  # bytes of each node's store of objects, which runs do not use

if __name__ == "__main__":
    size = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    second = cluster.add_node(**size)
    print(cluster.address, flush=True)
    if sys.stdin.readline():
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
    sys.stdin.read()
    cluster.shutdown()
