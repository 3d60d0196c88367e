package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/doctor"
)

// maxRegistries bounds the registries that are asked, one after another: each takes a second or two.
const maxRegistries = 16

// runningImages has kubectl write each pod's namespace and its images.
const runningImages = `--output=jsonpath={range .items[*]}{.metadata.namespace}{" "}{.spec.initContainers[*].image}{" "}{.spec.containers[*].image}{"\n"}{end}`

// askRegistries has a pod of ratify's read an image of each registry, as ratify login-check does: what counts are its
// credentials and what it can reach, not this machine's.
func askRegistries(ctx context.Context, kubectl doctor.Kubectl, snapshot *doctor.Snapshot, judge *configJudge, report *doctor.Report) {
	before := len(report.Findings) + len(report.NotLookedAt)
	unseen := func(reason, remedy string) {
		report.NotLookedAt = append(report.NotLookedAt, doctor.Unseen{Check: registriesCheck, Reason: reason, Remedy: remedy, Wanted: true})
	}
	servers := snapshot.Servers()
	if len(servers) == 0 {
		unseen("no Deployment runs ratify, so no pod can be asked", "name its namespace with --namespace")
		return
	}
	output, err := kubectl.Run(ctx, "get", "pods", "--all-namespaces", runningImages)
	if err != nil {
		unseen("which images are in use: "+err.Error(), "kubectl auth can-i list pods --all-namespaces")
		return
	}
	running := imagesByRegistry(string(output))
	hosts := judge.hosts(running)
	if len(hosts) > maxRegistries {
		unseen(fmt.Sprintf("%d registries beyond the first %d", len(hosts)-maxRegistries, maxRegistries), "kubectl exec deploy/… -- /ratify login-check for an image of each")
		hosts = hosts[:maxRegistries]
	}
	for _, host := range hosts {
		image, ok := running[host]
		if !ok {
			unseen("no pod has an image of "+host, fmt.Sprintf("kubectl exec -n %s deploy/%s -- /ratify login-check -c %s IMAGE", servers[0].Namespace, servers[0].Deployment, servers[0].Config))
			continue
		}
		if reason := askRegistry(ctx, kubectl, servers[0], image, judge.tenancy, report); reason != "" {
			unseen(host+": "+reason, "let the user run kubectl exec in "+servers[0].Namespace)
		}
	}
	if len(report.Findings)+len(report.NotLookedAt) == before {
		report.Passed = append(report.Passed, doctor.Note{Check: registriesCheck, Message: "a pod may read an image of " + strings.Join(hosts, ", ")})
	}
}

// A runningImage is an image of a pod.
type runningImage struct{ namespace, image string }

// imagesByRegistry is the first image of each registry, in the order of the pods.
func imagesByRegistry(lines string) map[string]runningImage {
	found := map[string]runningImage{}
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		for i := 1; i < len(fields); i++ {
			subject, err := ratify.ParseKey(fields[i])
			if err != nil {
				continue // a pod that is older than the constraint may say what it likes
			}
			if _, known := found[subject.Host()]; !known {
				found[subject.Host()] = runningImage{fields[0], fields[i]}
			}
		}
	}
	return found
}

// hosts are the registries that are configured, or that pods have images of where none is.
func (j *configJudge) hosts(running map[string]runningImage) []string {
	hosts := slices.Clone(j.registries)
	if len(hosts) == 0 {
		for host := range running {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// askRegistry has the pod read one image, and keeps what the registry refuses. A reason is why it could not be asked.
func askRegistry(ctx context.Context, kubectl doctor.Kubectl, server doctor.Running, image runningImage, tenancy bool, report *doctor.Report) (reason string) {
	args := []string{"exec", "--namespace=" + server.Namespace, "deployment/" + server.Deployment, "--container=" + server.Container, "--",
		"/ratify", "login-check", "--config=" + server.Config, "--output=json"}
	if tenancy {
		args = append(args, "--namespace="+image.namespace)
	}
	output, failure := kubectl.Run(ctx, append(args, image.image)...)
	var answer loginCheck
	if err := json.Unmarshal(output, &answer); err != nil || len(answer.Reads) == 0 {
		if failure == nil {
			failure = fmt.Errorf("its answer is not understood")
		}
		return failure.Error()
	}
	for _, read := range answer.Reads {
		if !read.Allowed {
			report.Findings = append(report.Findings, doctor.Finding{
				Check: registriesCheck, Level: doctor.LevelError, Object: image.image,
				Message: fmt.Sprintf("%s: %s: %s", read.What, read.Code, read.Message),
				Why:     "what a verification reads cannot be read there, so images of this registry are denied", Remedy: read.Remedy,
			})
		}
	}
	return ""
}
