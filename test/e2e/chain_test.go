// Package e2e holds what a user is promised to see, on a real API server with a real Gatekeeper: see
// TestTranscript, and TestTrust for more signers than one.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/cluster"
)

// forbidden is how kubectl begins what Gatekeeper's validation refuses.
const forbidden = `Error from server (Forbidden): admission webhook "validation.gatekeeper.sh" denied the request: `

// commandTimeout bounds one kubectl or helm: most take 0.2 s; an atomic install on a busy machine takes tens of seconds.
const commandTimeout = 3 * time.Minute

func progress(format string, args ...any) {
	fmt.Printf("%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// startCluster starts a cluster that ends with the test. If the test fails, the logs stay, and their ends are shown.
func startCluster(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "ratify-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	options.Dir, options.Progress = dir, progress
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the logs are in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c, err := cluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of Gatekeeper's log:\n%s", c.Log("gatekeeper", 10))
		}
		c.Stop()
	})
	return c
}

// kubectl runs a command that must succeed.
func kubectl(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	out, err := c.Kubectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused runs a command that must fail, and returns what it says about it.
func refused(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	out, err := c.Kubectl(ctx, args...)
	var failure *cluster.CommandError
	if !errors.As(err, &failure) {
		t.Fatalf("kubectl %s was not refused: %s%v", strings.Join(args, " "), out, err)
	}
	return failure.Stderr
}

// apply sends a manifest that must be accepted.
func apply(t *testing.T, c *cluster.Cluster, manifest string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	out, err := c.Apply(ctx, []byte(manifest), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// waitActive waits until Gatekeeper says in an object's status that it has taken it up.
func waitActive(t *testing.T, c *cluster.Cluster, resource, field string) {
	t.Helper()
	kubectl(t, c, "wait", "--for=jsonpath={.status.byPod[0]."+field+"}=true", resource, "--timeout=60s")
}

// waitObserved waits until Gatekeeper has taken up an object as it is now.
func waitObserved(t *testing.T, c *cluster.Cluster, resource string) {
	t.Helper()
	generation := kubectl(t, c, "get", resource, "--output=jsonpath={.metadata.generation}")
	kubectl(t, c, "wait", "--for=jsonpath={.status.byPod[0].observedGeneration}="+generation, resource, "--timeout=60s")
}

// absent fails the test if the object exists.
func absent(t *testing.T, c *cluster.Cluster, resource string) {
	t.Helper()
	if says := refused(t, c, "get", resource); !strings.Contains(says, "NotFound") {
		t.Errorf("kubectl get %s says %q, want NotFound", resource, says)
	}
}
