"""The configuration of every part, as text. Pure: addresses and paths in, files out; `cluster.py` writes
them.

Choices that are not obvious:
- Nothing listens beyond this machine: the API server and the kubelet on the bridge's address, etcd on
  loopback.
- One node cannot elect anybody: leader election of the Kubernetes parts is off, so that a starved machine
  does not make them give up. Torpor's own election runs over the API as anywhere.
- The kubelet's disk thresholds are off. A developer's disk is often 90 % full, and evicted pods or deleted
  images would be found out by a failing test; a disk that is really full still fails.
- `KubeletInUserNamespace` makes a missing CAP_SYS_RESOURCE harmless, which containers and small VMs often
  lack.
"""

import base64
import json
from pathlib import Path

from e2e.cluster import paths


def kubeconfig(server: str, pki: Path, identity: str) -> str:
    """Return a kubeconfig (JSON, which is YAML) with the certificates inside, for the identity of that file
    name.
    """

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    user = {
        "client-certificate-data": data(f"{identity}.crt"),
        "client-key-data": data(f"{identity}.key"),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": paths.NAME,
                    "cluster": {"server": server, "certificate-authority-data": data("ca.crt")},
                }
            ],
            "users": [{"name": identity, "user": user}],
            "contexts": [{"name": paths.NAME, "context": {"cluster": paths.NAME, "user": identity}}],
            "current-context": paths.NAME,
        },
        indent=2,
    )


def etcd(data: Path, client: str, peer: str) -> list[str]:
    """Return etcd's command line. Without fsync: a power cut loses a cluster made for an hour."""
    return [
        "etcd", f"--name={paths.NAME}", f"--data-dir={data}", f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={paths.NAME}={peer}", "--unsafe-no-fsync", "--log-level=warn",
        "--auto-compaction-retention=5m", "--quota-backend-bytes=4294967296",
    ]  # fmt: skip


def apiserver(pki: Path, etcd_url: str, address: str, port: int, service_cidr: str) -> list[str]:
    """Return the API server's command line; it listens on `address` only."""
    return [
        "kube-apiserver", f"--etcd-servers={etcd_url}", f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}", f"--service-cluster-ip-range={service_cidr}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--profiling=false",
        f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--service-account-key-file={pki}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
    ]  # fmt: skip


def controller_manager(state: Path, pki: Path, kubeconfig_file: Path) -> list[str]:
    """Return the controller manager's command line."""
    return [
        "kube-controller-manager", f"--kubeconfig={kubeconfig_file}", "--leader-elect=false",
        "--secure-port=0",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki}/service-account.key",
        f"--root-ca-file={pki}/ca.crt", f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key", "--kube-api-qps=500", "--kube-api-burst=1000",
        f"--cluster-name={paths.NAME}", "--profiling=false",
        f"--flex-volume-plugin-dir={state}/volume-plugins",
    ]  # fmt: skip


def scheduler(kubeconfig_file: Path) -> list[str]:
    """Return the scheduler's command line."""
    return [
        "kube-scheduler", f"--kubeconfig={kubeconfig_file}", "--leader-elect=false", "--secure-port=0",
        "--kube-api-qps=500", "--kube-api-burst=1000", "--profiling=false",
    ]  # fmt: skip


def kubelet_config(state: Path, pki: Path) -> str:
    """Return the KubeletConfiguration."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": paths.NODE_IP,
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{pki}/ca.crt"}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{pki}/kubelet-server.crt",
            "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
            "containerRuntimeEndpoint": f"unix://{paths.CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{paths.NAME}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "featureGates": {"KubeletInUserNamespace": True},
            "clusterDNS": [paths.NODE_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{state}/resolv.conf",
            "podLogsDir": f"{state}/pod-logs",
            "volumePluginDir": f"{state}/volume-plugins",
            "makeIPTablesUtilChains": False,
            "healthzPort": 0,
            "maxPods": 250,
            "serializeImagePulls": False,
            "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "eventRecordQPS": 0,
        },
        indent=2,
    )


def kubelet(state: Path, config: Path, kubeconfig_file: Path) -> list[str]:
    """Return the kubelet's command line."""
    return [
        "kubelet", f"--config={config}", f"--kubeconfig={kubeconfig_file}", f"--root-dir={state}/kubelet",
        f"--cert-dir={state}/kubelet-pki", f"--node-ip={paths.NODE_IP}", f"--hostname-override={paths.NAME}",
    ]  # fmt: skip


def proxy_config(kubeconfig_file: Path) -> str:
    """Return the KubeProxyConfiguration; it leaves the machine's conntrack limits alone."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig_file)},
            "clusterCIDR": paths.POD_CIDR,
            "hostnameOverride": paths.NAME,
            "healthzBindAddress": "",
            "metricsBindAddress": "",
            "nftables": {"syncPeriod": "30s", "minSyncPeriod": "100ms"},
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        },
        indent=2,
    )


def corefile(kubeconfig_file: Path, resolv_conf: Path | None) -> str:
    """Return CoreDNS's configuration; names outside the cluster are asked for at the machine's own resolvers,
    if any.
    """
    forward = f"    forward . {resolv_conf}\n" if resolv_conf else ""
    return (
        ".:53 {\n"
        f"    bind {paths.NODE_IP}\n"
        "    errors\n"
        "    kubernetes cluster.local in-addr.arpa ip6.arpa {\n"
        f"        kubeconfig {kubeconfig_file} {paths.NAME}\n"
        "        pods insecure\n"
        "        fallthrough in-addr.arpa ip6.arpa\n"
        "        ttl 2\n"
        "    }\n"
        f"{forward}"
        "    cache 2\n"
        "    loadbalance\n"
        "}\n"
    )


def dns_rbac() -> list[dict[str, object]]:
    """Return the objects that let CoreDNS read what it answers from."""
    name = "torpor-local:coredns"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["services", "namespaces", "pods"],
            "verbs": ["list", "watch", "get"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": name}],
        },
    ]


def containerd() -> str:
    """Return containerd's configuration: own socket, own directories, and nothing that needs a privilege we
    may lack.
    """
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{paths.NODE}/containerd"
state = "{paths.RUN}/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt",
]

[grpc]
  address = "{paths.CONTAINERD_SOCKET}"

[{cri}]
  sandbox_image = "{paths.PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [{cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{paths.STATE}/cni"
  [{cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        BinaryName = "runc"
        Root = "{paths.RUN}/runc"
        SystemdCgroup = false
"""


def cni() -> str:
    """Return the pod network: one bridge, addresses from a file, host ports. It enforces no NetworkPolicy."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": paths.NAME,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": paths.BRIDGE,
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": f"{paths.RUN}/addresses",
                        "ranges": [[{"subnet": paths.POD_CIDR, "gateway": paths.NODE_IP}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            ],
        },
        indent=2,
    )


def masquerade() -> str:
    """Return the nftables commands that let pods reach what lies beyond this machine (model hubs,
    registries).
    """
    table = f"inet {paths.NAME}"
    return (
        f"add table {table}\n"
        f"flush table {table}\n"
        f"add chain {table} postrouting {{ type nat hook postrouting priority 100 ; }}\n"
        f"add rule {table} postrouting ip saddr {paths.POD_CIDR} ip daddr != {paths.POD_CIDR} "
        f'oifname != "{paths.BRIDGE}" masquerade\n'
    )
