package doctor

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
)

// A server is a Deployment that runs ratify, and what its arguments and its configuration say.
type server struct {
	deployment *deployment
	container  *container
	settings   Settings
	bad        error // its arguments are not understood
	config     *Configuration
	unread     *Unread // why config is nil
}

func serverChecks() []check {
	return []check{
		{"server-arguments", "the program understands its arguments", LevelError, serverArguments},
		{"client-authentication", "only who has a client certificate of Gatekeeper's gets an answer", LevelError, clientAuthentication},
		{"client-ca", "Gatekeeper's client certificate is of the CA that is trusted", LevelError, clientCA},
		{"client-name", "Gatekeeper's client certificate has a name that is let in", LevelError, clientName},
		{"network-policy", "Gatekeeper's pods get through the NetworkPolicies", LevelError, networkPolicy},
		{"configuration", "the configuration is good", LevelError, configurationErrors},
		{"configuration-warnings", "nothing in the configuration ends soon or is lax", LevelWarning, configurationWarnings},
		{"replicas", "there are two pods or more", LevelWarning, replicas},
		{"disruption-budget", "a drain leaves a pod running", LevelWarning, disruptionBudget},
		{"pods-ready", "the pods are ready", LevelError, podsReady},
	}
}

// outside tells that a Provider's URL leads out of the cluster, where there are no pods to look at.
func (x *examination) outside() bool {
	providers, _ := decoded[provider](x.Snapshot, kindProvider)
	for _, p := range providers {
		if x.roleOf(&p) != roleNone {
			_, _, inside := p.service()
			return !inside
		}
	}
	return false
}

// servers are the Deployments that run ratify. The check at hand has no meaning without one.
func (x *examination) servers() []*server {
	deployments, ok := list[deployment](x, kindDeployment)
	if !ok {
		return nil
	}
	servers := serversOf(deployments, x.namespace)
	switch {
	case len(servers) > 0:
		for i, s := range servers {
			servers[i] = x.parse(s)
		}
	case x.outside():
		x.moot("the provider is outside of the cluster")
	default:
		x.unseenFor(&Unread{Reason: "no Deployment runs ratify in namespace " + x.namespace, Remedy: "name its namespace with --namespace", Wanted: x.complete})
	}
	return servers
}

// understood are the servers whose arguments are understood; of others another check speaks.
func (x *examination) understood() []*server {
	return slices.DeleteFunc(x.servers(), func(s *server) bool {
		if s.bad != nil {
			x.moot("its arguments are not understood")
		}
		return s.bad != nil
	})
}

// parse reads the arguments and the configuration of a server, once.
func (x *examination) parse(s *server) *server {
	key := s.deployment.ref() + " " + s.container.Name
	if known := x.parsed[key]; known != nil {
		return known
	}
	x.parsed[key] = s
	all := slices.Concat(s.container.Command, s.container.Args)
	args := all[slices.Index(all, "serve")+1:]
	if s.settings, s.bad = x.Parse(args); s.bad != nil {
		s.unread = &Unread{Reason: "its arguments are not understood"}
		return s
	}
	files, unread := x.filesOf(s)
	if unread != nil {
		s.unread = unread
		return s
	}
	judged := x.Check(s.settings.Config, files, func(file string) bool { return x.lacks(s, file) })
	s.config = &judged
	return s
}

// filesOf are the files of a server's pod that are no secrets, by their paths, and its configuration whatever it is in.
func (x *examination) filesOf(s *server) (files map[string][]byte, unread *Unread) {
	files = map[string][]byte{}
	pod, namespace := &s.deployment.Spec.Template.Spec, s.deployment.Metadata.Namespace
	pod.configMaps(s.container, func(directory string, source *volumeSource) {
		data, missing := x.data(kindConfigMap, namespace, source.object())
		if missing != nil {
			return // if it is the one that counts, the next look finds out
		}
		for key, content := range data {
			if file, ok := source.place(directory, key); ok {
				files[file] = content
			}
		}
	})
	content, unread := x.file(s, s.settings.Config)
	if unread != nil {
		return nil, unread
	}
	files[s.settings.Config] = content
	return files, nil
}

// lacks tells whether a file is meant to come from Secrets and ConfigMaps that were wholly read, and none of them has it.
func (x *examination) lacks(s *server, file string) bool {
	v, below := s.deployment.Spec.Template.Spec.volumeOf(s.container, path.Clean(file))
	if v == nil || v.opaque() {
		return false
	}
	lacking := true
	v.sources(func(kind string, source *volumeSource) {
		namespace, name := s.deployment.Metadata.Namespace, source.object()
		data, _ := x.data(kind, namespace, name)
		for key := range data {
			placed, ok := source.place("", key)
			if ok && (placed == below || strings.HasPrefix(placed, below+"/")) {
				lacking = false
			}
		}
		lacking = lacking && x.wholly(kind, namespace, name)
	})
	return lacking
}

// file is the content of a file of a server's pod.
func (x *examination) file(s *server, file string) ([]byte, *Unread) {
	unread := &Unread{Reason: "no volume holds " + ratify.Quote(file) + " of " + s.deployment.ref(), Wanted: x.complete}
	for _, o := range s.deployment.Spec.Template.Spec.origins(s.container, file) {
		data, missing := x.data(o.kind, s.deployment.Metadata.Namespace, o.name)
		if missing != nil {
			unread = missing
			continue
		}
		if content, ok := data[o.key]; ok && len(content) > 0 {
			return content, nil
		}
		unread = &Unread{Reason: ref(o.kind, s.deployment.Metadata.Namespace, o.name) + " has no key " + ratify.Quote(o.key), Wanted: x.complete}
	}
	return nil, unread
}

func serverArguments(x *examination) {
	for _, s := range x.servers() {
		if s.bad != nil {
			x.find(s.deployment.ref(), "this program does not understand the arguments: "+ratify.Truncate(s.bad.Error()),
				"a pod with them does not start, or runs another version than this program, whose other checks then say little",
				"correct the arguments, or run the ratify doctor of the version that is installed")
		}
	}
}

func clientAuthentication(x *examination) {
	for _, s := range x.understood() {
		if s.settings.NoClientAuth {
			x.find(s.deployment.ref(), "client certificates are not checked (--insecure-no-client-auth)",
				"every pod that reaches the port can use the registries' credentials to ask, and can keep the provider from its work",
				"take --insecure-no-client-auth away, and set --client-ca to a file with ca.crt of Gatekeeper's Secret, as the chart does")
		}
	}
}

func clientCA(x *examination) {
	for _, s := range x.understood() {
		if s.settings.NoClientAuth {
			x.moot("client certificates are not checked")
			continue
		}
		own, unread := x.file(s, s.settings.ClientCA)
		if unread != nil {
			x.unseenFor(unread)
			continue
		}
		data, unread := x.data(kindSecret, x.gatekeeperNamespace(), gatekeeperSecret)
		if unread != nil {
			x.unseenFor(unread)
			continue
		}
		x.compareCA(s, own, data["ca.crt"])
	}
}

// compareCA looks for Gatekeeper's CA among those that a server trusts.
func (x *examination) compareCA(s *server, own, gatekeepers []byte) {
	const denied = "Gatekeeper's requests are refused, so every pod is denied"
	remedy := "mount ca.crt of " + ref(kindSecret, x.gatekeeperNamespace(), gatekeeperSecret) + " there, or give it to the chart as gatekeeper.clientCA"
	wanted := certificatesIn(gatekeepers)
	if len(wanted) == 0 {
		x.unseenFor(&Unread{Reason: ref(kindSecret, x.gatekeeperNamespace(), gatekeeperSecret) + " has no certificate in ca.crt", Wanted: x.complete})
		return
	}
	trusted := certificatesIn(own)
	for _, w := range wanted {
		i := slices.IndexFunc(trusted, w.Equal)
		switch {
		case i < 0:
			x.find(s.deployment.ref(), s.settings.ClientCA+" does not have the CA of Gatekeeper's certificate, "+ratify.Quote(w.Subject.String()), denied, remedy)
		case x.Now.After(w.NotAfter):
			x.find(s.deployment.ref(), "the CA of Gatekeeper's certificate ended on "+w.NotAfter.UTC().Format(time.DateOnly), denied,
				"let Gatekeeper make a new one (delete its Secret, restart it), and trust it here: "+remedy)
		}
	}
}

func clientName(x *examination) {
	want := x.gatekeeperService() + "." + x.gatekeeperNamespace() + ".svc"
	for _, s := range x.understood() {
		if !s.settings.NoClientAuth && !slices.Contains(s.settings.ClientNames, want) {
			x.find(s.deployment.ref(), fmt.Sprintf("--client-name is %s, and Gatekeeper's certificate is for %s", ratify.Quote(commas(s.settings.ClientNames)), want),
				"Gatekeeper's requests are refused, so every pod is denied",
				"set --client-name="+want+" (the chart's gatekeeper.namespace and gatekeeper.serviceName make it)")
		}
	}
}

// configurations calls for each configuration that was read; of one that was not the check at hand says so.
func (x *examination) configurations(each func(*server, *Configuration)) {
	for _, s := range x.understood() {
		if s.config == nil {
			x.unseenFor(s.unread)
			continue
		}
		each(s, s.config)
	}
}

func configurationErrors(x *examination) {
	x.configurations(func(s *server, c *Configuration) {
		for _, line := range c.Errors {
			x.find(s.deployment.ref(), s.settings.Config+": "+line,
				"a pod that starts with it does not come up; one that runs keeps the last good configuration",
				"correct it, and see with ratify check that it is good before it is applied")
		}
		if len(c.Unread) > 0 {
			x.unseenFor(&Unread{Reason: fmt.Sprintf("files that only the pods have were not read: %s", commas(c.Unread)),
				Remedy: fmt.Sprintf("kubectl exec -n %s deploy/%s -- /ratify check %s", s.deployment.Metadata.Namespace, s.deployment.Metadata.Name, s.settings.Config)})
		}
	})
}

func configurationWarnings(x *examination) {
	x.configurations(func(s *server, c *Configuration) {
		for _, line := range c.Warnings {
			x.find(s.deployment.ref(), s.settings.Config+": "+line, "it is in force, and may not be what is meant, or not for long",
				"change it, or leave the check out with --skip configuration-warnings")
		}
		for _, line := range c.Notes {
			x.note(s.settings.Config + ": " + line)
		}
		if len(c.Errors) > 0 {
			x.moot("the configuration is not good")
		} else if len(c.Unread) > 0 {
			x.moot("files that only the pods have were not read")
		}
	})
}

// replicasOf is how many pods are wanted; the API's default is 1.
func (d *deployment) replicas() int {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func replicas(x *examination) {
	for _, s := range x.servers() {
		if n := s.deployment.replicas(); n < 2 {
			x.find(s.deployment.ref(), fmt.Sprintf("spec.replicas is %d", n), "while its pod moves to another node, or is replaced, every pod of the cluster is denied",
				"set replicas to 2 or more in the chart")
		}
	}
}

// A budget is what matters of a PodDisruptionBudget.
type budget struct {
	Metadata metadata
	Spec     struct {
		Selector *selector
	}
}

func disruptionBudget(x *examination) {
	budgets, ok := list[budget](x, kindBudget)
	if !ok {
		return
	}
	for _, s := range x.servers() {
		if s.deployment.replicas() < 2 {
			x.moot("there is one pod")
			continue
		}
		labels := s.deployment.Spec.Template.Metadata.Labels
		if !slices.ContainsFunc(budgets, func(b budget) bool {
			return b.Metadata.Namespace == s.deployment.Metadata.Namespace && b.Spec.Selector != nil && b.Spec.Selector.matches(labels)
		}) {
			x.find(s.deployment.ref(), "no PodDisruptionBudget is for its pods", "a drain of several nodes may end all of them at once, and every pod of the cluster is denied meanwhile",
				"set podDisruptionBudget.enabled to true in the chart")
		}
	}
}

func podsReady(x *examination) {
	for _, s := range x.servers() {
		status := s.deployment.Status
		if status == nil {
			x.moot("what was given does not say how the pods are")
			continue
		}
		wanted, name := s.deployment.replicas(), s.deployment.Metadata.Name
		message := ""
		switch {
		case status.ReadyReplicas < wanted:
			message = fmt.Sprintf("%d of %d pods are ready", status.ReadyReplicas, wanted)
		case status.ObservedGeneration < s.deployment.Metadata.Generation || status.UpdatedReplicas < wanted:
			message = fmt.Sprintf("%d of %d pods are of the latest template", status.UpdatedReplicas, wanted)
		}
		if message != "" {
			x.find(s.deployment.ref(), message, "without a pod that is ready, every pod of the cluster is denied",
				fmt.Sprintf("kubectl -n %s rollout status deploy/%[2]s; kubectl -n %[1]s logs deploy/%[2]s", s.deployment.Metadata.Namespace, name))
		}
	}
}

// certificatesIn are the certificates of a PEM file.
func certificatesIn(data []byte) (list []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(bytes.TrimSpace(data)); block == nil {
			return list
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, c)
		}
	}
}

// pairOf is the certificate chain that a server shows.
func (x *examination) pairOf(s *server) ([]*x509.Certificate, *Unread) {
	data, unread := x.file(s, path.Join(s.settings.CertDir, "tls.crt"))
	if unread != nil {
		return nil, unread
	}
	chain := certificatesIn(data)
	if len(chain) == 0 {
		return nil, &Unread{Reason: "tls.crt of " + s.deployment.ref() + " is no certificate in PEM", Wanted: true}
	}
	return chain, nil
}

// version is the tag of an image, without a leading v.
func version(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, _ := strings.Cut(name, ":")
	return strings.TrimPrefix(tag, "v")
}
