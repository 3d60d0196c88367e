package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

type o = map[string]any

// now is when the tests' installations are looked at.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	defaultRego = "package ratifyverification\nkey_prefix = \"\"\n"
	tenantsRego = "package ratifyverification\nkey_prefix = concat(\"\", [\"[\", input.review.namespace, \"]\"])\n"
)

// An authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// pemOf issues a certificate for hosts until a time; without an issuer it is an authority's own.
func pemOf(t *testing.T, by *authority, name string, until time.Time, hosts ...string) (string, *authority) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: until,
		IsCA: by == nil, BasicConstraintsValid: true, DNSNames: hosts}
	issuer, signer := c, key
	if by != nil {
		issuer, signer = by.cert, by.key
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	} else {
		c.KeyUsage = x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), &authority{parsed, key}
}

const (
	serviceHost = "ratify.gatekeeper-system.svc"
	year        = 365 * 24 * time.Hour
)

// objectOf is an object of Kubernetes with a spec.
func objectOf(apiVersion, kind, namespace, name string, spec any) o {
	metadata := o{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	return o{"apiVersion": apiVersion, "kind": kind, "metadata": metadata, "spec": spec}
}

// installation is one in which everything is as it should be; the keys are for those who change it.
func installation(t *testing.T) map[string]o {
	t.Helper()
	ca, issuer := pemOf(t, nil, "ratify-ca", now.Add(10*year))
	cert, _ := pemOf(t, issuer, "ratify", now.Add(10*year), serviceHost)
	gatekeeperCA, _ := pemOf(t, nil, "gatekeeper-ca", now.Add(10*year))
	all := map[string]o{
		"ns:kube-system":       {"apiVersion": "v1", "kind": "Namespace", "metadata": o{"name": "kube-system", "labels": o{ignoreLabel: "yes"}}},
		"ns:gatekeeper-system": objectOf("v1", "Namespace", "", "gatekeeper-system", o{}),
		"secret:tls":           {"apiVersion": "v1", "kind": "Secret", "metadata": o{"name": "ratify-tls", "namespace": DefaultNamespace}, "stringData": o{"tls.crt": cert}},
		"secret:gatekeeper":    {"apiVersion": "v1", "kind": "Secret", "metadata": o{"name": gatekeeperSecret, "namespace": DefaultNamespace}, "stringData": o{"ca.crt": gatekeeperCA}},
		"configmap":            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": o{"name": "ratify-config", "namespace": DefaultNamespace}, "data": o{"config.yaml": "good"}},
		"service":              objectOf("v1", "Service", DefaultNamespace, "ratify", o{"selector": o{"app": "ratify"}, "ports": []any{o{"port": 6001}}}),
		"budget":               objectOf("policy/v1", "PodDisruptionBudget", DefaultNamespace, "ratify", o{"maxUnavailable": 1, "selector": o{"matchLabels": o{"app": "ratify"}}}),
		"network": objectOf("networking.k8s.io/v1", kindNetwork, DefaultNamespace, "ratify", o{
			"podSelector": o{"matchLabels": o{"app": "ratify"}}, "policyTypes": []any{"Ingress", "Egress"},
			"ingress": []any{
				o{"from": []any{o{"namespaceSelector": o{"matchLabels": o{nameLabel: DefaultNamespace}}, "podSelector": o{"matchLabels": o{"app": "gatekeeper"}}}}, "ports": []any{o{"protocol": "TCP", "port": 6001}}},
				o{"ports": []any{o{"protocol": "TCP", "port": 9099}}}}}),
		"template": objectOf("templates.gatekeeper.sh/v1", kindTemplate, "", "ratifyverification", o{
			"crd":     o{"spec": o{"names": o{"kind": kindConstraint}}},
			"targets": []any{o{"target": "admission.k8s.gatekeeper.sh", "rego": defaultRego}}}),
		"constraint": objectOf("constraints.gatekeeper.sh/v1beta1", kindConstraint, "", "ratify-constraint", o{
			"enforcementAction": "deny",
			"match":             o{"kinds": []any{o{"apiGroups": []any{""}, "kinds": []any{"Pod"}}}, "excludedNamespaces": []any{"kube-system", DefaultNamespace}},
			"parameters":        o{"provider": verifyProvider}}),
	}
	all["template"]["metadata"].(o)["annotations"] = o{versionAnnotation: "1.0.0"}
	for key, path := range map[string]string{verifyProvider: "/verify", mutateProvider: "/mutate"} {
		all[key] = objectOf("externaldata.gatekeeper.sh/v1beta1", kindProvider, "", key, o{"url": "https://" + serviceHost + ":6001" + path, "timeout": 4, "caBundle": []byte(ca)})
	}
	addWebhooks(all)
	addDeployments(all)
	addMutations(all)
	return all
}

func addWebhooks(all map[string]o) {
	rules := func(operation string, resources ...any) o {
		return o{"apiGroups": []any{"*"}, "apiVersions": []any{"*"}, "operations": []any{operation}, "resources": resources}
	}
	hook := func(name string, rules ...any) o {
		return o{"name": name, "failurePolicy": "Fail", "timeoutSeconds": 5, "rules": rules,
			"clientConfig":      o{"service": o{"name": "gatekeeper-webhook-service", "namespace": DefaultNamespace}},
			"namespaceSelector": o{"matchExpressions": []any{o{"key": ignoreLabel, "operator": "DoesNotExist"}, o{"key": nameLabel, "operator": "NotIn", "values": []any{DefaultNamespace}}}}}
	}
	configuration := func(kind string, hook o) o {
		c := objectOf("admissionregistration.k8s.io/v1", kind, "", "gatekeeper", nil)
		c["webhooks"] = []any{hook}
		return c
	}
	all["validating"] = configuration(kindValidating, hook(validation, rules("CREATE", "*"), rules("UPDATE", "*", "pods/ephemeralcontainers")))
	all["mutating"] = configuration(kindMutating, hook(mutation, rules("CREATE", "pods"), rules("UPDATE", "pods/ephemeralcontainers")))
}

func addDeployments(all map[string]o) {
	pod := func(name, image string, args ...any) o {
		return o{"replicas": 2, "template": o{"metadata": o{"labels": o{"app": name}}, "spec": o{"containers": []any{o{"name": name, "image": image, "args": args}}}}}
	}
	all["gatekeeper"] = objectOf("apps/v1", kindDeployment, DefaultNamespace, "gatekeeper-controller-manager",
		pod("gatekeeper", "openpolicyagent/gatekeeper:v3.23.1", "--operation=webhook", "--external-data-provider-response-cache-ttl=30s", "--max-serving-threads=64"))
	all["gatekeeper"]["status"] = o{"readyReplicas": 1}
	all["ratify"] = objectOf("apps/v1", kindDeployment, DefaultNamespace, "ratify",
		pod("ratify", "ghcr.io/ratify:1", "serve", "--config=/etc/ratify/config/config.yaml", "--cert-dir=/etc/ratify/tls", "--client-ca=/etc/ratify/gatekeeper/ca.crt"))
	spec := all["ratify"]["spec"].(o)["template"].(o)["spec"].(o)
	spec["containers"].([]any)[0].(o)["volumeMounts"] = []any{
		o{"name": "config", "mountPath": "/etc/ratify/config"}, o{"name": "tls", "mountPath": "/etc/ratify/tls"}, o{"name": "gatekeeper", "mountPath": "/etc/ratify/gatekeeper"}}
	spec["volumes"] = []any{
		o{"name": "config", "configMap": o{"name": "ratify-config"}},
		o{"name": "tls", "secret": o{"secretName": "ratify-tls", "items": []any{o{"key": "tls.crt", "path": "tls.crt"}}}},
		o{"name": "gatekeeper", "projected": o{"sources": []any{o{"secret": o{"name": gatekeeperSecret}}}}}}
	all["ratify"]["status"] = o{"readyReplicas": 2, "updatedReplicas": 2}
}

func addMutations(all map[string]o) {
	for _, location := range locations() {
		all["assign:"+location] = objectOf("mutations.gatekeeper.sh/v1", kindAssign, "", "mutate-"+location, o{
			"applyTo": []any{o{"groups": []any{""}, "kinds": []any{"Pod"}}}, "location": location,
			"match":      o{"scope": "Namespaced", "excludedNamespaces": []any{"kube-system", DefaultNamespace}},
			"parameters": o{"assign": o{"externalData": o{"provider": mutateProvider, "failurePolicy": "Fail"}}}})
	}
}

// options stand for the program: the arguments are taken apart, and of a configuration its text is the judgement.
func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Now: now, VerifyPath: "/verify", MutatePath: "/mutate",
		Templates: []Template{{"1.0.0", strings.TrimSpace(defaultRego), false}, {"1.0.0", strings.TrimSpace(tenantsRego), true}},
		Parse: func(args []string) (Settings, error) {
			s := Settings{ClientNames: []string{"gatekeeper-webhook-service.gatekeeper-system.svc"}, VerifyTimeout: 3800 * time.Millisecond, MutateTimeout: 3800 * time.Millisecond}
			s.Address = ":6001"
			s.Config, _ = flagOf(args, "config")
			s.CertDir, _ = flagOf(args, "cert-dir")
			s.ClientCA, _ = flagOf(args, "client-ca")
			if name, ok := flagOf(args, "client-name"); ok {
				s.ClientNames = []string{name}
			}
			s.NoClientAuth = slices.Contains(args, "--insecure-no-client-auth")
			if slices.Contains(args, "--unknown") {
				return s, errors.New("unknown flag: --unknown")
			}
			return s, nil
		},
		Check: func(path string, files map[string][]byte, lacks func(string) bool) Configuration {
			c := Configuration{Decoded: true, GatekeeperCacheTTL: 30 * time.Second}
			switch string(files[path]) {
			case "bad":
				c.Errors = []string{"policies: it is bad"}
			case "lax":
				c.Warnings = []string{"it is lax"}
			case "lacking":
				for _, file := range []string{"/etc/ratify/config/key.pub", "/etc/ratify/tls/other/../key.pub", "/etc/ratify/tls/tls.crt", "/etc/ratify/tls", "/etc/elsewhere/key.pub", "/etc/ratify/gatekeeper/key.pub"} {
					if lacks(file) {
						c.Errors = append(c.Errors, file)
					}
				}
			case "lasting":
				c.Notes = []string{"a verdict lasts 1h0m0s"}
			case "tenants":
				c.Tenancy = true
			case "partly":
				c.Unread = []string{"/etc/ratify/docker/config.json"}
			}
			return c
		},
	}
}

// examined is what is found in an installation that comes in files.
func examined(t *testing.T, all map[string]o, options Options) *Report {
	t.Helper()
	var items []any
	for _, key := range slices.Sorted(maps.Keys(all)) {
		items = append(items, all[key])
	}
	data, err := json.Marshal(o{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	s, err := FromFiles("", data)
	if err != nil {
		t.Fatal(err)
	}
	return Examine(s, options)
}

// at leads to a place in an object: names of fields, and numbers of elements.
func at(value any, path ...any) o {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			value = value.(o)[step]
		case int:
			value = value.([]any)[step]
		}
	}
	return value.(o)
}

func addArgs(deployment o, args ...any) {
	c := at(deployment, "spec", "template", "spec", "containers", 0)
	c["args"] = append(c["args"].([]any), args...)
}

func TestGoodInstallation(t *testing.T) {
	r := examined(t, installation(t), options(t))
	if len(r.Findings) > 0 || len(r.Notes) > 0 {
		t.Errorf("found %+v, notes %+v", r.Findings, r.Notes)
	}
	var unseen []string
	for _, u := range r.NotLookedAt {
		unseen = append(unseen, u.Check)
	}
	if want := []string{"template-status", "constraint-status", "provider-status"}; !slices.Equal(unseen, want) || r.Blind() {
		t.Errorf("not looked at %q, want %q, which files do not tell", unseen, want)
	}
	if got, want := len(r.Passed)+len(unseen), len(Checks()); got != want {
		t.Errorf("%d checks are accounted for, of %d", got, want)
	}
}

// A gap is a change to a good installation, the check that must find it, and words that it must have.
type gap struct {
	name, check, words string
	change             func(all map[string]o)
}

// TestGaps: each change is found by one check, and by no other.
func TestGaps(t *testing.T) {
	tried := map[string]bool{"constraint-present": true} // TestFromCluster: a file without a constraint says nothing of one
	for _, g := range slices.Concat(gatekeeperGaps(), constraintGaps(), providerGaps(t), serverGaps(t)) {
		t.Run(g.name, func(t *testing.T) {
			all := installation(t)
			g.change(all)
			r := examined(t, all, options(t))
			var found []string
			text := ""
			for _, f := range r.Findings {
				found = append(found, f.Check)
				text += f.Object + ": " + f.Message + "\n"
				if f.Why == "" || f.Remedy == "" {
					t.Errorf("%s says neither why nor what to do: %+v", f.Check, f)
				}
			}
			if !slices.Equal(sorted(found), []string{g.check}) || !strings.Contains(text, g.words) {
				t.Errorf("found %q, want %s alone, with %q:\n%s", found, g.check, g.words, text)
			}
		})
		tried[g.check] = true
	}
	for _, name := range Checks() {
		if !tried[name] {
			t.Errorf("no gap is tried for the check %s", name)
		}
	}
}

func gatekeeperGaps() []gap {
	hook := func(all map[string]o, key string) o { return at(all[key], "webhooks", 0) }
	return []gap{
		{"old Gatekeeper", "gatekeeper-version", "3.16.0", func(all map[string]o) {
			at(all["gatekeeper"], "spec", "template", "spec", "containers", 0)["image"] = "registry:5000/gatekeeper:v3.16.0@sha256:00"
		}},
		{"external data off", "gatekeeper-external-data", "=false", func(all map[string]o) { addArgs(all["gatekeeper"], "--enable-external-data=false") }},
		{"cache time in two words", "gatekeeper-cache", "is 1m0s", func(all map[string]o) {
			addArgs(all["gatekeeper"], "--external-data-provider-response-cache-ttl", "1m")
		}},
		{"cache time unset", "gatekeeper-cache", "unset", func(all map[string]o) {
			at(all["gatekeeper"], "spec", "template", "spec", "containers", 0)["args"] = []any{"--operation=webhook", "--max-serving-threads=64"}
		}},
		{"few threads", "gatekeeper-threads", "is 2", func(all map[string]o) { addArgs(all["gatekeeper"], "--max-serving-threads=2") }},
		{"no webhook", "webhook-coverage", "there is no webhook", func(all map[string]o) { hook(all, "validating")["name"] = "other" }},
		{"policy Ignore", "webhook-failure-policy", "Ignore", func(all map[string]o) { hook(all, "validating")["failurePolicy"] = "Ignore" }},
		{"no rule for ephemeral containers", "webhook-coverage", "UPDATE of pods/ephemeralcontainers", func(all map[string]o) {
			at(all["validating"], "webhooks", 0, "rules", 1)["resources"] = []any{"*"}
		}},
		{"no rule for CREATE", "webhook-coverage", "CREATE of pods", func(all map[string]o) {
			at(all["validating"], "webhooks", 0, "rules", 0)["resources"] = []any{"deployments"}
		}},
		{"objectSelector", "webhook-coverage", "objectSelector", func(all map[string]o) {
			hook(all, "validating")["objectSelector"] = o{"matchLabels": o{"a": "b"}}
		}},
		{"matchConditions", "webhook-coverage", "matchCondition", func(all map[string]o) {
			hook(all, "validating")["matchConditions"] = []any{o{"name": "some", "expression": "false"}}
		}},
		{"only labelled namespaces", "webhook-coverage", "a=b alone", func(all map[string]o) {
			at(all["validating"], "webhooks", 0, "namespaceSelector")["matchLabels"] = o{"a": "b"}
		}},
		{"webhook too fast", "webhook-timeout", "has the timeout 4s", func(all map[string]o) { hook(all, "validating")["timeoutSeconds"] = 4 }},
		{"mutating webhook too fast", "webhook-timeout", mutation, func(all map[string]o) { hook(all, "mutating")["timeoutSeconds"] = 1 }},
		{"mutation Ignore", "mutation-failure-policy", "Ignore", func(all map[string]o) { hook(all, "mutating")["failurePolicy"] = "Ignore" }},
		{"mutation Ignore, which needs no exemption", "mutation-failure-policy", "Ignore", func(all map[string]o) {
			hook(all, "mutating")["failurePolicy"] = "Ignore"
			hook(all, "mutating")["namespaceSelector"] = o{}
		}},
		{"Gatekeeper is scaled away", "gatekeeper-ready", "spec.replicas is 0", func(all map[string]o) { at(all["gatekeeper"], "spec")["replicas"] = 0 }},
		{"Gatekeeper is not ready", "gatekeeper-ready", "0 of 2 pods are ready", func(all map[string]o) { all["gatekeeper"]["status"] = o{"replicas": 2} }},
		{"mutation on every update", "mutation-coverage", "asked on UPDATE of pods", func(all map[string]o) {
			at(all["mutating"], "webhooks", 0, "rules", 1)["resources"] = []any{"*", "pods/ephemeralcontainers"}
		}},
		{"mutation not on create", "mutation-coverage", "CREATE of pods", func(all map[string]o) {
			at(all["mutating"], "webhooks", 0, "rules", 0)["operations"] = []any{"DELETE"}
		}},
	}
}

func constraintGaps() []gap {
	spec := func(all map[string]o) o { return at(all["constraint"], "spec") }
	match := func(all map[string]o) o { return at(all["constraint"], "spec", "match") }
	withDigest := func(all map[string]o) { at(all["constraint"], "spec", "parameters")["requireDigest"] = true }
	return []gap{
		{"another template", "template-present", "there is no ConstraintTemplate", func(all map[string]o) {
			at(all["template"], "spec", "crd", "spec", "names")["kind"] = "Other"
		}},
		{"older template", "template-version", "0.9.0", func(all map[string]o) { at(all["template"], "metadata", "annotations")[versionAnnotation] = "0.9.0" }},
		{"template without a version", "template-version", "not said", func(all map[string]o) { delete(at(all["template"], "metadata"), "annotations") }},
		{"changed template", "template-version", "its Rego", func(all map[string]o) {
			at(all["template"], "spec", "targets", 0)["rego"] = defaultRego + "all_proven { true }\n"
		}},
		{"template for tenants", "template-tenancy", "tenancy is off", func(all map[string]o) { at(all["template"], "spec", "targets", 0)["rego"] = tenantsRego }},
		{"template not for tenants", "template-tenancy", "tenancy is on", func(all map[string]o) { at(all["configmap"], "data")["config.yaml"] = "tenants" }},
		{"template with an error", "template-status", "rego_type_error: bad", func(all map[string]o) {
			all["template"]["status"] = o{"byPod": []any{o{"id": "a", "errors": []any{o{"code": "rego_type_error", "message": "bad"}}}}}
		}},
		{"dryrun", "constraint-enforcement", "dryrun", func(all map[string]o) { spec(all)["enforcementAction"] = "dryrun" }},
		{"scoped to audit", "constraint-enforcement", "scoped", func(all map[string]o) {
			spec(all)["enforcementAction"] = "scoped"
			spec(all)["scopedEnforcementActions"] = []any{o{"action": "deny", "enforcementPoints": []any{o{"name": "audit.gatekeeper.sh"}}}}
		}},
		{"other kinds", "constraint-coverage", "match.kinds", func(all map[string]o) {
			match(all)["kinds"] = []any{o{"apiGroups": []any{"apps"}, "kinds": []any{"*"}}}
		}},
		{"some namespaces", "constraint-coverage", "match.namespaces", func(all map[string]o) { match(all)["namespaces"] = []any{"a"} }},
		{"by label", "constraint-coverage", "labelSelector", func(all map[string]o) { match(all)["labelSelector"] = o{"matchLabels": o{"a": "b"}} }},
		{"by the namespace's label", "constraint-coverage", "namespaceSelector", func(all map[string]o) { match(all)["namespaceSelector"] = o{"matchLabels": o{"a": "b"}} }},
		{"by name", "constraint-coverage", "match.name", func(all map[string]o) { match(all)["name"] = "some-*" }},
		{"cluster scope", "constraint-coverage", "match.scope", func(all map[string]o) { match(all)["scope"] = "Cluster" }},
		{"generated", "constraint-coverage", "match.source", func(all map[string]o) { match(all)["source"] = "Generated" }},
		{"not enforced", "constraint-status", "not enforced by a", func(all map[string]o) {
			all["constraint"]["status"] = o{"byPod": []any{o{"id": "a", "enforced": false}}}
		}},
		{"itself not exempt", "exempt-namespaces", "Gatekeeper's own", func(all map[string]o) { at(all["validating"], "webhooks", 0)["namespaceSelector"] = o{} }},
		{"kube-system exempt in the constraint alone", "exempt-namespaces", "about the pods of kube-system", func(all map[string]o) {
			delete(at(all["ns:kube-system"], "metadata"), "labels")
		}},
		{"kube-system waits for the mutation", "exempt-namespaces", "webhook " + mutation, func(all map[string]o) {
			at(all["mutating"], "webhooks", 0)["namespaceSelector"] = o{"matchExpressions": []any{o{"key": nameLabel, "operator": "NotIn", "values": []any{DefaultNamespace}}}}
		}},
		{"ratify not exempt", "exempt-namespaces", "Namespace/images: its pods are verified", func(all map[string]o) {
			all[verifyProvider] = objectOf("externaldata.gatekeeper.sh/v1beta1", kindProvider, "", verifyProvider, o{"url": "https://ratify.images.svc:6001/verify", "timeout": 4})
			delete(all, "ratify")
			delete(all, "service")
			delete(all, "network")
		}},
		{"no mutation", "digests", "neither", func(all map[string]o) {
			for _, location := range locations() {
				at(all["assign:"+location], "spec", "parameters", "assign", "externalData")["provider"] = "other"
			}
		}},
		{"one mutation less", "digests", "spec.initContainers", func(all map[string]o) { delete(all, "assign:"+locations()[1]) }},
		{"mutation that lets be", "digests", "failurePolicy is Ignore", func(all map[string]o) {
			at(all["assign:"+locations()[0]], "spec", "parameters", "assign", "externalData")["failurePolicy"] = "Ignore"
		}},
		{"mutation elsewhere", "digests", "excludes the namespace team", func(all map[string]o) {
			at(all["assign:"+locations()[0]], "spec", "match")["excludedNamespaces"] = []any{"kube-system", DefaultNamespace, "team"}
		}},
		{"namespaces excluded by a field that nobody knows", "constraint-coverage", `"excludeNamespaces"`, func(all map[string]o) {
			match(all)["excludeNamespaces"] = match(all)["excludedNamespaces"]
			delete(match(all), "excludedNamespaces")
		}},
		{"digests required by a field that nobody knows", "constraint-coverage", `"requireDigests"`, func(all map[string]o) {
			at(all["constraint"], "spec", "parameters")["requireDigests"] = true
			for _, location := range locations() {
				delete(all, "assign:"+location)
			}
		}},
		{"a Config that switches everything off", "constraint-coverage", "every namespace (*) from webhook", excluding("*", "*")},
		{"a Config that switches verification off", "constraint-coverage", "every namespace (**) from webhook", excluding("**", "audit", "webhook")},
		{"a Config that switches mutation off", "digests", "namespace * from mutation-webhook", excluding("*", "mutation-webhook")},
		{"a Config that leaves a team's tags", "digests", "namespace team from mutation-webhook", excluding("team", "mutation-webhook")},
		{"digests required where it only reports", "constraint-enforcement", "warn", func(all map[string]o) { withDigest(all); spec(all)["enforcementAction"] = "warn" }},
	}
}

// excluding adds a Config that leaves a namespace out of processes.
func excluding(namespace string, processes ...any) func(map[string]o) {
	return func(all map[string]o) {
		all["config"] = objectOf("config.gatekeeper.sh/v1alpha1", kindConfig, DefaultNamespace, "config",
			o{"match": []any{o{"excludedNamespaces": []any{"kube-system", namespace}, "processes": processes}}})
	}
}

func providerGaps(t *testing.T) []gap {
	spec := func(all map[string]o) o { return at(all[verifyProvider], "spec") }
	other, issuer := pemOf(t, nil, "other-ca", now.Add(year))
	soon, _ := pemOf(t, issuer, "ratify", now.Add(10*24*time.Hour), serviceHost)
	over, _ := pemOf(t, issuer, "ratify", now.Add(-time.Minute), serviceHost)
	foreign, _ := pemOf(t, issuer, "ratify", now.Add(year), "other.example")
	pair := func(cert string) func(map[string]o) {
		return func(all map[string]o) {
			at(all["secret:tls"], "stringData")["tls.crt"] = cert
			spec(all)["caBundle"], at(all[mutateProvider], "spec")["caBundle"] = []byte(other), []byte(other)
		}
	}
	url := func(url string) func(map[string]o) { return func(all map[string]o) { spec(all)["url"] = url } }
	return []gap{
		{"no Provider", "provider-present", "no Provider ratify-provider", func(all map[string]o) { delete(all, verifyProvider) }},
		{"another Provider", "provider-present", "no Provider other", func(all map[string]o) { at(all["constraint"], "spec", "parameters")["provider"] = "other" }},
		{"no mutation Provider", "provider-present", "no Provider ratify-mutation-provider", func(all map[string]o) { delete(all, mutateProvider) }},
		{"http", "provider-url", "https", url("http://" + serviceHost + ":6001/verify")},
		{"another path", "provider-url", "/other", url("https://" + serviceHost + ":6001/other")},
		{"another port", "provider-url", "has no port 443", url("https://" + serviceHost + "/verify")},
		{"other pods", "provider-url", "does not select", func(all map[string]o) { at(all["service"], "spec")["selector"] = o{"app": "other"} }},
		{"no timeout", "provider-timeout", "not set", func(all map[string]o) { delete(spec(all), "timeout") }},
		{"a short timeout", "provider-timeout", "is 3s", func(all map[string]o) { spec(all)["timeout"] = 3 }},
		{"not active", "provider-status", "not active in a", func(all map[string]o) {
			all[verifyProvider]["status"] = o{"byPod": []any{o{"id": "a", "active": false}}}
		}},
		{"another CA", "server-certificate-trust", "does not vouch", func(all map[string]o) { spec(all)["caBundle"] = []byte(other) }},
		{"another host", "server-certificate-name", "other.example", pair(foreign)},
		{"ends soon", "server-certificate-expiry", "ends in 10 days", pair(soon)},
		{"has ended", "server-certificate-expiry", "ended on 2026-11-23", pair(over)},
	}
}

func serverGaps(t *testing.T) []gap {
	config := func(text string) func(map[string]o) {
		return func(all map[string]o) { at(all["configmap"], "data")["config.yaml"] = text }
	}
	foreign, _ := pemOf(t, nil, "foreign-ca", now.Add(year))
	return []gap{
		{"unknown flag", "server-arguments", "--unknown", func(all map[string]o) { addArgs(all["ratify"], "--unknown") }},
		{"everybody may ask", "client-authentication", "not checked", func(all map[string]o) { addArgs(all["ratify"], "--insecure-no-client-auth") }},
		{"a foreign client CA", "client-ca", "gatekeeper-ca", func(all map[string]o) {
			at(all["configmap"], "data")["ca.crt"] = foreign
			addArgs(all["ratify"], "--client-ca=/etc/ratify/config/ca.crt")
		}},
		{"another client name", "client-name", "other", func(all map[string]o) { addArgs(all["ratify"], "--client-name=other") }},
		{"other labels than Gatekeeper's", "network-policy", "does not let the pods of Deployment/gatekeeper-controller-manager", func(all map[string]o) {
			at(all["network"], "spec", "ingress", 0, "from", 0, "podSelector")["matchLabels"] = o{"app": "other"}
		}},
		{"another namespace than Gatekeeper's", "network-policy", "NetworkPolicy/ratify", func(all map[string]o) {
			at(all["network"], "spec", "ingress", 0, "from", 0, "namespaceSelector")["matchLabels"] = o{nameLabel: "other"}
		}},
		{"another port", "network-policy", "in to :6001", func(all map[string]o) { at(all["network"], "spec", "ingress", 0, "ports", 0)["port"] = 6002 }},
		{"audit is kept out", "network-policy", "gatekeeper-audit", func(all map[string]o) {
			all["audit"] = objectOf("apps/v1", kindDeployment, DefaultNamespace, "gatekeeper-audit", o{"template": o{"metadata": o{"labels": o{"app": "audit"}},
				"spec": o{"containers": []any{o{"args": []any{"--operation=audit"}}}}}})
		}},
		{"bad configuration", "configuration", "it is bad", config("bad")},
		{"lax configuration", "configuration-warnings", "it is lax", config("lax")},
		{"one pod", "replicas", "is 1", func(all map[string]o) { delete(at(all["ratify"], "spec"), "replicas") }},
		{"a budget for others", "disruption-budget", "no PodDisruptionBudget", func(all map[string]o) {
			at(all["budget"], "spec")["selector"] = o{"matchLabels": o{"app": "other"}}
		}},
		{"a pod that is not ready", "pods-ready", "1 of 2", func(all map[string]o) { at(all["ratify"], "status")["readyReplicas"] = 1 }},
		{"a rollout", "pods-ready", "latest template", func(all map[string]o) { at(all["ratify"], "status")["updatedReplicas"] = 1 }},
	}
}

// TestNotes: what may be meant is said, and is no finding.
func TestNotes(t *testing.T) {
	all := installation(t)
	at(all["constraint"], "spec", "match")["excludedNamespaces"] = []any{"kube-system", DefaultNamespace, "legacy"}
	excluding("old", "*")(all)
	at(all["configmap"], "data")["config.yaml"] = "lasting"
	all["ns:lab"] = o{"apiVersion": "v1", "kind": "Namespace", "metadata": o{"name": "lab", "labels": o{ignoreLabel: "yes"}}}
	r := examined(t, all, options(t))
	text := ""
	for _, n := range r.Notes {
		text += n.Message + "\n"
	}
	for _, want := range []string{"legacy", "old", "namespace lab", "/etc/ratify/config/config.yaml: a verdict lasts 1h0m0s"} {
		if !strings.Contains(text, want) {
			t.Errorf("the notes do not have %q: %s", want, text)
		}
	}
	if len(r.Findings) > 0 {
		t.Errorf("found %+v", r.Findings)
	}
}

// TestEnough: what is set in another way than ours is good all the same.
func TestEnough(t *testing.T) {
	for name, change := range map[string]func(map[string]o){
		"digests required instead of added": func(all map[string]o) {
			at(all["constraint"], "spec", "parameters")["requireDigest"] = true
			for _, location := range locations() {
				delete(all, "assign:"+location)
			}
			all["assign"] = objectOf("mutations.gatekeeper.sh/v1", kindAssign, "", "other", o{})
		},
		"digests required where none are added": func(all map[string]o) {
			at(all["assign:"+locations()[0]], "spec", "match")["excludedNamespaces"] = []any{"kube-system", DefaultNamespace, "team"}
			all["private"] = objectOf("constraints.gatekeeper.sh/v1beta1", kindConstraint, "", "private", o{
				"match": o{"namespaces": []any{"team"}}, "parameters": o{"requireDigest": true}})
		},
		"one more constraint that only reports": func(all map[string]o) {
			all["report"] = objectOf("constraints.gatekeeper.sh/v1beta1", kindConstraint, "", "report", o{"enforcementAction": "dryrun", "match": o{"namespaces": []any{"team"}}})
		},
		"scoped to the webhook": func(all map[string]o) {
			spec := at(all["constraint"], "spec")
			spec["enforcementAction"] = "scoped"
			spec["scopedEnforcementActions"] = []any{o{"action": "deny", "enforcementPoints": []any{o{"name": validation}}}}
		},
		"rules by wildcards": func(all map[string]o) {
			at(all["validating"], "webhooks", 0)["rules"] = []any{o{"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"*"}, "resources": []any{"pods", "pods/*"}}}
		},
		"the template in another form": func(all map[string]o) {
			at(all["template"], "spec")["targets"] = []any{o{"target": "admission.k8s.gatekeeper.sh", "code": []any{o{"engine": "Rego", "source": o{"rego": defaultRego}}}}}
		},
		"a Config that excludes from audit alone":            excluding("*", "audit", "sync"),
		"a Config that excludes what is not verified either": excluding("kube-system", "mutation-webhook"),
		"a Config of another name": func(all map[string]o) {
			excluding("*", "*")(all)
			at(all["config"], "metadata")["name"] = "other"
		},
		"no NetworkPolicy for the pods": func(all map[string]o) {
			at(all["network"], "spec")["podSelector"] = o{"matchLabels": o{"app": "other"}}
		},
		"a NetworkPolicy of addresses": func(all map[string]o) {
			at(all["network"], "spec", "ingress", 0)["from"] = []any{o{"ipBlock": o{"cidr": "10.0.0.0/8"}}}
		},
		"a NetworkPolicy of its own namespace, and a range": func(all map[string]o) {
			at(all["network"], "spec", "ingress", 0)["from"] = []any{o{"podSelector": o{}}}
			at(all["network"], "spec", "ingress", 0)["ports"] = []any{o{"port": "other"}, o{"port": 6000, "endPort": 6010}}
		},
		"a second NetworkPolicy that lets nobody in": func(all map[string]o) {
			all["deny"] = objectOf("networking.k8s.io/v1", kindNetwork, DefaultNamespace, "deny", o{"podSelector": o{}})
		},
		"exempt by a label": func(all map[string]o) {
			at(all["validating"], "webhooks", 0)["namespaceSelector"] = o{"matchExpressions": []any{o{"key": ignoreLabel, "operator": "DoesNotExist"}}}
			at(all["ns:gatekeeper-system"], "metadata")["labels"] = o{ignoreLabel: "yes"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := installation(t)
			change(all)
			if r := examined(t, all, options(t)); len(r.Findings) > 0 {
				t.Errorf("found %+v", r.Findings)
			}
		})
	}
}

// TestNothingUnseenPasses: whatever kind is not given, no check of it passes that did look at it before.
func TestNothingUnseenPasses(t *testing.T) {
	for kind := range groups() {
		t.Run(kind, func(t *testing.T) {
			all := installation(t)
			maps.DeleteFunc(all, func(_ string, object o) bool { return object["kind"] == kind })
			r := examined(t, all, options(t))
			accounted := map[string]bool{}
			for _, u := range r.NotLookedAt {
				accounted[u.Check] = true
			}
			for _, f := range r.Findings {
				accounted[f.Check] = true
			}
			for _, p := range r.Passed {
				if accounted[p.Check] {
					t.Errorf("%s passed, and was not looked at or found something", p.Check)
				}
				accounted[p.Check] = true
			}
			if len(accounted) != len(Checks()) {
				t.Errorf("%d checks are accounted for, of %d", len(accounted), len(Checks()))
			}
			if kind != kindConfig && kind != kindNamespace && len(r.NotLookedAt) <= 3 {
				t.Errorf("nothing more is not looked at without %s", kind)
			}
		})
	}
}

func TestSkip(t *testing.T) {
	all := installation(t)
	at(all["validating"], "webhooks", 0)["failurePolicy"] = "Ignore"
	o := options(t)
	o.Skip = []string{"webhook-failure-policy"}
	if r := examined(t, all, o); len(r.Findings) > 0 || !slices.Equal(r.Skipped, o.Skip) {
		t.Errorf("found %+v, skipped %q", r.Findings, r.Skipped)
	}
}

func TestBadFiles(t *testing.T) {
	deep := `{"kind":"List","items":[{"kind":"List","items":[{"kind":"List","items":[{"kind":"List","items":[]}]}]}]}`
	for name, manifest := range map[string]string{
		"nothing": "", "no object": "just text", "a list": "- a", "other objects": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
		"no YAML": "a: b: c", "deep lists": deep, "another group": "apiVersion: other/v1\nkind: Provider\nmetadata: {name: a}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := FromFiles("", []byte(manifest)); err == nil {
				t.Error("no error")
			}
		})
	}
	malformed := "apiVersion: externaldata.gatekeeper.sh/v1beta1\nkind: Provider\nmetadata: {name: ratify-provider}\nspec: {timeout: five}\n"
	s, err := FromFiles("", []byte(malformed))
	if err != nil {
		t.Fatal(err)
	}
	if r := Examine(s, options(t)); !r.Blind() {
		t.Errorf("a malformed Provider was looked at: %+v", r)
	}
}

// TestNamespace: an object without a namespace is in the one that the Provider's URL leads to.
func TestNamespace(t *testing.T) {
	manifest := `
apiVersion: externaldata.gatekeeper.sh/v1beta1
kind: Provider
metadata: {name: ratify-provider}
spec: {url: "https://ratify.images.svc.cluster.local:6001/verify", timeout: 4}
--- # the next
apiVersion: apps/v1
kind: Deployment
metadata: {name: ratify}
spec: {template: {spec: {containers: [{name: r, args: [serve, --cert-dir=/tls, --config=/c/c.yaml]}]}}}
`
	s, err := FromFiles("", []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Servers(), []Running{{"images", "ratify", "r", "/c/c.yaml"}}; !slices.Equal(got, want) {
		t.Errorf("servers %+v, want %+v", got, want)
	}
}

// TestPartlyRead: a configuration of which files are not at hand is not called good.
func TestPartlyRead(t *testing.T) {
	all := installation(t)
	at(all["configmap"], "data")["config.yaml"] = "partly"
	r := examined(t, all, options(t))
	seen := slices.ContainsFunc(r.NotLookedAt, func(u Unseen) bool { return u.Check == "configuration" && strings.Contains(u.Remedy, "/ratify check") })
	passed := slices.ContainsFunc(r.Passed, func(n Note) bool { return strings.HasPrefix(n.Check, "configuration") })
	if !seen || passed || len(r.Findings) > 0 {
		t.Errorf("%+v", r)
	}
}

// TestLacks: what is mounted and was wholly read is known not to have a file.
func TestLacks(t *testing.T) {
	all := installation(t)
	at(all["configmap"], "data")["config.yaml"] = "lacking"
	sources := at(all["ratify"], "spec", "template", "spec", "volumes", 2, "projected")
	sources["sources"] = append(sources["sources"].([]any), o{"serviceAccountToken": o{"path": "token"}})
	lacking := func(r *Report) (files []string) {
		for _, f := range r.Findings {
			_, file, _ := strings.Cut(f.Message, ": ")
			files = append(files, f.Check+" "+file)
		}
		return files
	}
	config, tls := "configuration /etc/ratify/config/key.pub", "configuration /etc/ratify/tls/other/../key.pub"
	if got, want := lacking(examined(t, all, options(t))), []string{config, tls}; !slices.Equal(got, want) {
		t.Errorf("lacking %q, want %q", got, want)
	}
	if got, want := lacking(newFakeCluster(t, all).examine(t)), []string{config}; !slices.Equal(got, want) {
		t.Errorf("of a cluster, of whose Secrets one key is read: lacking %q, want %q", got, want)
	}
}
