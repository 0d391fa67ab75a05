"""Run a Ray cluster of two nodes on this machine for tests, each with as many GPUs as argument 1.

Ray takes the number as given, so the GPUs need not exist. Prints the address of the cluster, kills
the second node when it reads a line, and ends with its input.
"""

import sys

from ray.cluster_utils import Cluster

STORE_BYTES = 100 * 1024**2  # object store of each node, which runs do not use

if __name__ == "__main__":
    size = {"num_cpus": 1, "num_gpus": int(sys.argv[1]), "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    second = cluster.add_node(**size)
    print(cluster.address, flush=True)
    if sys.stdin.readline():
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
    sys.stdin.read()
    cluster.shutdown()
