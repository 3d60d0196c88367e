package chart

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// A Pair is a TLS pair and its CA, in PEM, and what other values are made of: the public key of a signer in PEM, and the
// trusted_root.json of a Sigstore.
type Pair struct{ Cert, Key, CA, Signer, Root string }

// NewPair makes a TLS pair for some host names, valid for an hour.
func NewPair(hosts ...string) (Pair, error) {
	signer, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		return Pair{}, err
	}
	sigstore, err := cosigntest.NewSigstore("private")
	if err != nil {
		return Pair{}, err
	}
	trustedRoot, err := cosigntest.TrustedRoot(sigstore)
	if err != nil {
		return Pair{}, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test-ca"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, DNSNames: hosts,
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return Pair{}, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return Pair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return Pair{Cert: text("CERTIFICATE", leafDER), Key: text("PRIVATE KEY", keyDER), CA: text("CERTIFICATE", caDER),
		Signer: string(signer.PublicPEM()), Root: string(trustedRoot)}, nil
}

// A change is another value than the default one of a leaf of values.yaml, and the values under which it has an effect.
type change struct {
	value any
	with  map[string]any // by path
	// alone means that the value excludes one of the others, and so is not part of EveryValue's first set.
	alone bool
}

// changes holds the values that cannot be made from the default, by path; the others are flipped, counted up, or replaced.
func changes(p Pair) map[string]change {
	any1 := func(key, value string) map[string]any { return map[string]any{key: value} }
	all := map[string]change{
		"notaryCert":                             {value: p.CA + p.CA},
		"notation.tsaCert":                       {value: p.CA},
		"notation.level":                         {value: "permissive"},
		"notation.trustedIdentities":             {value: []any{"x509.subject: C=US, ST=WA, O=acme"}},
		"notation.registryScopes":                {value: []any{"registry.example/app"}},
		"notation.trustStores":                   {value: trustStores(p)},
		"notation.trustPolicy":                   {value: trustPolicy(), with: map[string]any{"notation.tsaCert": p.CA, "notation.trustStores": trustStores(p)}},
		"registries":                             {value: registries(p)},
		"cache.ttl":                              {value: "11m"},
		"cache.refusalTTL":                       {value: "11s"},
		"cache.tagTTL":                           {value: "6s"},
		"cache.maxBytes":                         {value: "32Mi"},
		"content.memory":                         {value: "16Mi"},
		"content.disk":                           {value: "64Mi"},
		"mutation.reference":                     {value: "digest"},
		"config":                                 {value: wholeConfig(), with: map[string]any{"registries": []any{}, "notation.trustPolicy": map[string]any{}}, alone: true},
		"configKind":                             {value: "Secret"},
		"gatekeeper.namespace":                   {value: "policy", with: map[string]any{"gatekeeper.clientCA": p.CA}},
		"gatekeeper.certSecret":                  {value: "other", with: map[string]any{"gatekeeper.clientCA": "", "gatekeeper.namespace": ""}},
		"gatekeeper.clientCA":                    {value: p.CA},
		"gatekeeper.cacheTTL":                    {value: "1m"},
		"provider.url":                           {value: "https://ratify.example:8443/"},
		"provider.tls.crt":                       {value: p.Cert + p.CA},
		"provider.tls.key":                       {value: p.Key + "\n"},
		"provider.tls.ca":                        {value: p.CA + p.Cert},
		"provider.tls.extraCA":                   {value: p.Cert},
		"provider.tls.rotation":                  {value: "2027-01", with: withoutPair(), alone: true},
		"image.digest":                           {value: "sha256:" + strings.Repeat("a", 64)},
		"image.pullPolicy":                       {value: "Always"},
		"imagePullSecrets":                       {value: []any{any1("name", "pull")}},
		"logLevel":                               {value: "debug"},
		"resources.requests.cpu":                 {value: "200m"},
		"resources.requests.memory":              {value: "256Mi"},
		"resources.limits.memory":                {value: "1Gi"},
		"topologySpread.topologyKeys":            {value: []any{"example/rack"}},
		"topologySpread.whenUnsatisfiable":       {value: "DoNotSchedule"},
		"networkPolicy.healthFrom":               {value: []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": any1("team", "monitoring")}}}},
		"networkPolicy.egressPorts":              {value: []any{443}},
		"networkPolicy.extraEgress":              {value: []any{map[string]any{"ports": []any{map[string]any{"port": 8443, "protocol": "TCP"}}}}},
		"metrics.serviceMonitor.interval":        {value: "31s", with: map[string]any{"metrics.serviceMonitor.enabled": true}},
		"metrics.serviceMonitor.labels":          {value: any1("prometheus", "main"), with: map[string]any{"metrics.serviceMonitor.enabled": true}},
		"metrics.podMonitor.interval":            {value: "31s", with: map[string]any{"metrics.podMonitor.enabled": true}},
		"metrics.podMonitor.labels":              {value: any1("prometheus", "main"), with: map[string]any{"metrics.podMonitor.enabled": true}},
		"metrics.prometheusRule.labels":          {value: any1("prometheus", "main"), with: map[string]any{"metrics.prometheusRule.enabled": true}},
		"serviceAccount.annotations":             {value: any1("example/role", "reader")},
		"podSecurityContext.seccompProfile.type": {value: "Unconfined"},
		"securityContext.capabilities.drop":      {value: []any{"NET_RAW"}},
		"dnsConfig.options":                      {value: []any{map[string]any{"name": "ndots", "value": "2"}}},
		"extraEnv":                               {value: []any{map[string]any{"name": "EXTRA", "value": "1"}}},
		"extraVolumes":                           {value: []any{map[string]any{"name": "extra", "emptyDir": map[string]any{}}}},
		"extraVolumeMounts":                      {value: []any{map[string]any{"name": "extra", "mountPath": "/extra"}}},
		"commonLabels":                           {value: any1("team", "security")},
		"podLabels":                              {value: any1("sidecar", "off")},
		"podAnnotations":                         {value: any1("example/note", "x")},
		"nodeSelector":                           {value: any1("kubernetes.io/os", "linux")},
		"tolerations":                            {value: []any{map[string]any{"key": "critical", "operator": "Exists"}}},
		"affinity":                               {value: map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{"nodeSelectorTerms": []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "a", "operator": "Exists"}}}}}}}},
		"initContainers":                         {value: []any{map[string]any{"name": "copy", "image": "registry.example/tools@sha256:" + strings.Repeat("b", 64)}}},
	}
	maps.Copy(all, trustChanges(p))
	maps.Copy(all, tenancyChanges())
	return all
}

// trustChanges are those of who is trusted and what is asked. Where there is more than one verifier, policies must be there, too.
func trustChanges(p Pair) map[string]change {
	some := func(more map[string]any) map[string]any {
		with := map[string]any{"cosign.keys": cosignKeys(p), "policies": []any{map[string]any{"name": "both", "scopes": []any{"*"}, "verifiers": []any{"notation", "cosign"}}}}
		maps.Copy(with, more)
		return with
	}
	every := func(more map[string]any) map[string]any {
		with := map[string]any{"cosign.keys": cosignKeys(p), "files": map[string]any{"build.pub": p.Signer}, "verifiers": verifiers("24h"), "policies": policies(), "tenancy.enabled": true}
		maps.Copy(with, more)
		return with
	}
	return map[string]change{
		"cosign.keys":        {value: cosignKeys(p), with: some(map[string]any{"cosign.keys": []any{}, "cosign.identities": identities(), "cosign.trustedRoot": p.Root})},
		"cosign.identities":  {value: identities(), with: some(map[string]any{"cosign.trustedRoot": p.Root, "cosign.thresholds": map[string]any{"timestamps": 1}})},
		"cosign.trustedRoot": {value: p.Root, with: some(map[string]any{"cosign.identities": identities(), "cosign.trustedRoot": p.Root + "\n"})},
		"cosign.thresholds": {value: map[string]any{"transparencyLogs": 1, "certificateLogs": 1, "timestamps": 1},
			with: some(map[string]any{"cosign.identities": identities(), "cosign.trustedRoot": p.Root})},
		"cosign.tags": {value: false, with: some(nil)},
		"verifiers":   {value: verifiers("48h"), with: every(nil)},
		"files":       {value: map[string]any{"build.pub": p.Signer}},
		"policies": {value: policies(), with: every(map[string]any{"policies": []any{map[string]any{"name": "other", "scopes": []any{"*"},
			"verifiers": []any{"notation", "cosign", "provenance", "bill", "scan"}, "require": "any"}}})},
		"exemptions": {value: []any{map[string]any{"scopes": []any{"docker.io/*"}, "digests": []any{"sha256:" + strings.Repeat("c", 64)}, "namespaces": []any{"team-*"},
			"reason": "until its maker signs", "expires": "2040-12-31"}}},
		"mirrors": {value: []any{map[string]any{"pulledFrom": "mirror.example/hub/*", "verifyAs": "docker.io/*", "evidence": "origin"}}},
	}
}

// tenancyChanges take namespaces that every cluster has, for an API server to accept their Roles.
func tenancyChanges() map[string]change {
	namespaces := []any{map[string]any{"name": "default", "secrets": []any{"registry"}}, map[string]any{"name": "kube-system", "secrets": []any{"hub", "mirror"}}}
	delegate := []any{map[string]any{"namespaces": []any{"team-*"}, "scopes": []any{"registry.example/*"}}}
	pull := map[string]any{"tenancy.enabled": true, "tenancy.pullSecrets.namespaces": namespaces}
	return map[string]change{
		"tenancy.withoutPolicy": {value: "refuse", with: map[string]any{"tenancy.enabled": true}},
		"tenancy.tenantsConfigMap": {value: "tenants", with: map[string]any{"tenancy.enabled": true, "tenancy.tenantsConfigMap": "others",
			"tenancy.delegate": delegate}},
		"tenancy.delegate": {value: delegate, with: map[string]any{"tenancy.enabled": true, "tenancy.tenantsConfigMap": "tenants",
			"tenancy.delegate": []any{map[string]any{"namespaces": []any{"*"}, "scopes": []any{"*"}}}}},
		"tenancy.registryCredentialsFor":     {value: []any{"team-*"}, with: map[string]any{"tenancy.enabled": true, "registryCredentialsSecret": "pull"}},
		"tenancy.pullSecrets.namespaces":     {value: namespaces, with: map[string]any{"tenancy.enabled": true}},
		"tenancy.pullSecrets.apiServerPort":  {value: 443, with: pull},
		"tenancy.pullSecrets.apiServerCIDRs": {value: []any{"192.0.2.1/32", "2001:db8::1/128"}, with: pull},
	}
}

func cosignKeys(p Pair) []any { return []any{map[string]any{"name": "release", "key": p.Signer}} }

func identities() []any {
	return []any{map[string]any{"issuer": "https://token.actions.example", "subjectPattern": "^https://github\\.com/acme/.*$"},
		map[string]any{"issuerPattern": "^https://login\\.example$", "subject": "release@acme.example"}}
}

// verifiers are one of each type that the values do not make, of a scan that may be that old.
func verifiers(maxAge string) []any {
	return []any{
		map[string]any{"name": "provenance", "type": "attestation", "evidence": "any", "settings": map[string]any{
			"keys": []any{map[string]any{"name": "build", "file": "/etc/ratify/files/build.pub"}}, "predicateType": "https://slsa.dev/provenance/v1"}},
		map[string]any{"name": "bill", "type": "sbom", "signedBy": []any{"notation", "cosign"}, "evidence": "all",
			"settings": map[string]any{"licenses": map[string]any{"disallowed": []any{"AGPL-3.0-only"}}}},
		map[string]any{"name": "scan", "type": "vulnerability", "signedBy": []any{"notation"}, "settings": map[string]any{"maxAge": maxAge}},
	}
}

// policies ask all of them, and notation and cosign.
func policies() []any {
	return []any{
		map[string]any{"name": "cluster", "scopes": []any{"*"}, "require": map[string]any{"all": []any{map[string]any{"any": []any{"notation", "cosign"}},
			map[string]any{"atLeast": 2, "of": []any{"provenance", "bill", "scan"}}}}, "rule": `evidence.exists(e, e.type == "attestation")`, "mode": "audit", "platforms": "all"},
		map[string]any{"name": "team", "namespaces": []any{"team-*"}, "scopes": []any{"registry.example/*"}, "verifiers": []any{"cosign", "scan"}, "require": 1},
	}
}

func trustPolicy() map[string]any {
	return map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{
		"name": "mine", "registryScopes": []any{"*"}, "signatureVerification": map[string]any{"level": "strict", "override": map[string]any{"revocation": "log"}},
		"trustStores": []any{"ca:certs", "tsa:certs", "signingAuthority:acme.rsa"}, "trustedIdentities": []any{"*"}},
		map[string]any{"name": "partner", "registryScopes": []any{"registry.example/partner"}, "signatureVerification": map[string]any{"level": "permissive"},
			"trustStores": []any{"ca:Partner_1"}, "trustedIdentities": []any{"*"}}}}
}

// trustStores is one of certificates, and one of certificates and a Secret.
func trustStores(p Pair) []any {
	return []any{
		map[string]any{"type": "signingAuthority", "name": "acme.rsa", "certificates": p.CA},
		map[string]any{"type": "ca", "name": "Partner_1", "certificates": p.CA, "secret": "partner"},
	}
}

func registries(p Pair) []any {
	return []any{
		map[string]any{"host": "localhost:5000", "plainHTTP": true, "allowPrivate": true},
		map[string]any{"host": "*.ecr.example", "authHosts": []any{"sts.example"}, "redirectHosts": []any{"*.s3.example"}, "ca": p.CA,
			"proxy": "http://proxy.example:3128", "noProxy": []any{"internal.example"}},
	}
}

// wholeConfig sets every top-level key of the configuration.
func wholeConfig() map[string]any {
	return map[string]any{
		"stores": []any{map[string]any{"name": "mine", "type": "oras", "scopes": []any{"*"}, "settings": map[string]any{}}},
		"verifiers": []any{map[string]any{"name": "mine", "type": "notation", "settings": map[string]any{
			"trustStores": []any{map[string]any{"type": "ca", "name": "certs", "files": []any{"/etc/ratify/config/notary.crt"}}},
			"trustPolicy": map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{"name": "mine", "registryScopes": []any{"*"},
				"signatureVerification": map[string]any{"level": "strict"}, "trustStores": []any{"ca:certs"}, "trustedIdentities": []any{"*"}}}},
		}}},
		"policies":           []any{map[string]any{"name": "mine", "scopes": []any{"*"}, "verifiers": []any{"mine"}, "require": "any"}},
		"cache":              map[string]any{"ttl": "1m", "refusalTTL": "1s", "tagTTL": "1s", "maxEntries": 10, "maxBytes": "1Mi"},
		"mutation":           map[string]any{"reference": "digest"},
		"exemptions":         []any{map[string]any{"scopes": []any{"quay.io/*"}, "reason": "until its maker signs", "expires": "2040-12-31"}},
		"mirrors":            []any{map[string]any{"pulledFrom": "mirror.example/*", "verifyAs": "quay.io/*"}},
		"tenancy":            map[string]any{"enabled": true, "withoutPolicy": "refuse"},
		"gatekeeperCacheTTL": "10s",
		"concurrency":        3,
	}
}

func withoutPair() map[string]any {
	return map[string]any{"provider.tls.crt": "", "provider.tls.key": "", "provider.tls.ca": ""}
}

// EveryValue returns sets of values for `helm --values` that together set every value of values.yaml to something else
// than its default. Sets are needed because a few values exclude each other. What p is for: NewPair.
func EveryValue(defaults map[string]any, p Pair) ([]map[string]any, error) {
	first := map[string]any{}
	alone := []map[string]any{}
	for _, path := range Leaves(defaults) {
		c, err := changed(defaults, path, p)
		if err != nil {
			return nil, err
		}
		if c.alone {
			set := base(p)
			put(set, path, c.value)
			for other, value := range c.with {
				put(set, strings.Split(other, "."), value)
			}
			alone = append(alone, set)
			continue
		}
		put(first, path, c.value)
	}
	return append([]map[string]any{first}, alone...), nil
}

// base is what every rendering here starts from: enough to render, and the same each time.
func base(p Pair) map[string]any {
	return map[string]any{"notaryCert": p.CA,
		"provider": map[string]any{"tls": map[string]any{"crt": p.Cert, "key": p.Key, "ca": p.CA}}}
}

// changed returns another value for a leaf.
func changed(defaults map[string]any, path []string, p Pair) (change, error) {
	if c, ok := changes(p)[strings.Join(path, ".")]; ok {
		return c, nil
	}
	switch v := Object(defaults).Get(path...).(type) {
	case bool:
		return change{value: !v}, nil
	case float64:
		return change{value: v + 1}, nil
	case string:
		return change{value: "changed"}, nil
	default:
		return change{}, fmt.Errorf("%s: no other value is known for it: add one to changes", strings.Join(path, "."))
	}
}

// Leaves returns the paths of all values that hold no further values: scalars, lists, and empty maps.
func Leaves(values map[string]any) [][]string {
	var paths [][]string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		below, ok := values[key].(map[string]any)
		if !ok || len(below) == 0 {
			paths = append(paths, []string{key})
			continue
		}
		for _, path := range Leaves(below) {
			paths = append(paths, append([]string{key}, path...))
		}
	}
	return paths
}

// put sets the value at a path, and makes the maps on the way.
func put(values map[string]any, path []string, value any) {
	for _, key := range path[:len(path)-1] {
		below, ok := values[key].(map[string]any)
		if !ok {
			below = map[string]any{}
			values[key] = below
		}
		values = below
	}
	values[path[len(path)-1]] = value
}
