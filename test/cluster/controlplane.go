package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// startAPIServer starts etcd and kube-apiserver with the default admission plugins, RBAC and no aggregation.
func (c *Cluster) startAPIServer(ctx context.Context) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	etcdURL, peerURL := "http://"+local(ports[0]), "http://"+local(ports[1])
	etcd, err := c.spawn("etcd", nil, "--name=e2e", "--data-dir="+filepath.Join(c.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster=e2e="+peerURL)
	if err != nil {
		return err
	}
	if err := etcd.WaitReady(ctx, status200(http.DefaultClient, etcdURL+"/health")); err != nil {
		return err
	}
	cert, key, err := c.writePair("apiserver", c.pki.apiServer)
	if err != nil {
		return err
	}
	clientCA, err := c.write("cluster-ca.crt", c.pki.cluster.cert)
	if err != nil {
		return err
	}
	frontProxyCA, err := c.write("front-proxy-ca.crt", c.pki.frontProxy.cert)
	if err != nil {
		return err
	}
	accountCert, accountKey, err := c.writePair("service-accounts", c.pki.serviceAccounts)
	if err != nil {
		return err
	}
	c.server = "https://" + local(ports[2])
	server, err := c.spawn("kube-apiserver", nil, "--etcd-servers="+etcdURL,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]), "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file="+cert, "--tls-private-key-file="+key, "--client-ca-file="+clientCA,
		"--requestheader-client-ca-file="+frontProxyCA, "--requestheader-allowed-names=front-proxy", "--requestheader-username-headers=X-Remote-User",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+accountCert, "--service-account-signing-key-file="+accountKey,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true", "--profiling=false")
	if err != nil {
		return err
	}
	if c.Kubeconfig, err = c.kubeconfig("admin", byCertificate(c.pki.admin)); err != nil {
		return err
	}
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	return server.WaitReady(ctx, status200(client, c.server+"/readyz"))
}

func (c *Cluster) adminClient() (*http.Client, error) {
	cert, err := tls.X509KeyPair(c.pki.admin.cert, c.pki.admin.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.pki.cluster.parsed)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}}}, nil
}

// startWorkloads starts what makes pods of workloads, and ready ones; or does the least that pods need without it.
func (c *Cluster) startWorkloads(ctx context.Context) error {
	if !c.options.Workloads {
		// Without a controller manager nobody makes the account that admission asks of each pod.
		_, err := c.Kubectl(ctx, "create", "serviceaccount", "default")
		return err
	}
	if err := c.startControllers(); err != nil {
		return err
	}
	return c.startNodes(ctx)
}

// waitWorkloads waits for what pods need of the controllers. They take seconds to begin, in which Gatekeeper starts.
func (c *Cluster) waitWorkloads(ctx context.Context) error {
	if !c.options.Workloads {
		return nil
	}
	if _, err := c.Kubectl(ctx, "wait", "--for=create", "serviceaccount/default", "--timeout=120s"); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=120s")
	return err
}

func (c *Cluster) startControllers() error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	for i, program := range []struct {
		name string
		who  pair
		args []string
	}{
		{"kube-controller-manager", c.pki.controllerManager, []string{"--use-service-account-credentials=true",
			"--service-account-private-key-file=" + filepath.Join(c.Dir, "service-accounts.key"), "--root-ca-file=" + filepath.Join(c.Dir, "cluster-ca.crt")}},
		{"kube-scheduler", c.pki.scheduler, nil},
	} {
		config, err := c.kubeconfig(program.name, byCertificate(program.who))
		if err != nil {
			return err
		}
		args := append([]string{"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[i]), "--leader-elect=false"}, program.args...)
		if _, err := c.spawn(program.name, nil, args...); err != nil {
			return err
		}
	}
	return nil
}

// nodeName is the node that kwok keeps alive.
const nodeName = "kwok-0"

const nodeManifest = `
apiVersion: v1
kind: Node
metadata:
  name: ` + nodeName + `
  annotations: {kwok.x-k8s.io/node: fake}
  labels: {kubernetes.io/hostname: ` + nodeName + `, kubernetes.io/os: linux, kubernetes.io/arch: amd64, topology.kubernetes.io/zone: zone-0}
status:
  allocatable: {cpu: "32", memory: 256Gi, pods: "110"}
  capacity: {cpu: "32", memory: 256Gi, pods: "110"}
`

// startNodes runs kwok with the stages that its own distribution calls fast: a node that is ready and renews its lease, pods
// that are ready as soon as they are bound, jobs that complete.
func (c *Cluster) startNodes(ctx context.Context) error {
	source, err := toolSource(ctx, "kwok", "sigs.k8s.io/kwok")
	if err != nil {
		return err
	}
	var stages []byte
	for _, folder := range []string{"node/fast", "node/heartbeat-with-lease", "pod/fast"} {
		files, err := filepath.Glob(filepath.Join(source, "kustomize", "stage", filepath.FromSlash(folder), "*.yaml"))
		if err != nil {
			return fmt.Errorf("read kwok's stages: %w", err)
		}
		if len(files) == 0 {
			return fmt.Errorf("read kwok's stages: there are none in %s", folder)
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			stages = append(append(stages, "\n---\n"...), data...)
		}
	}
	config, err := c.write("kwok-stages.yaml", stages)
	if err != nil {
		return err
	}
	if _, err := c.Apply(ctx, []byte(nodeManifest), "--server-side"); err != nil {
		return err
	}
	_, err = c.spawn("kwok", nil, "--kubeconfig="+c.Kubeconfig, "--config="+config,
		"--manage-all-nodes=true", "--node-ip=127.0.0.1", "--node-lease-duration-seconds=40", "--server-address=")
	return err
}
