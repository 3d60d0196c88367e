package doctor

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/ratify-provider/ratify"
)

// The names that the chart gives the Providers, which the library's objects take where they are told nothing.
const (
	verifyProvider = "ratify-provider"
	mutateProvider = "ratify-mutation-provider"
)

// expiryNotice is how long before its end a certificate is warned about: time enough to have a new one issued.
const expiryNotice = 30 * 24 * time.Hour

// A role is what a Provider is for.
type role int

const (
	roleNone role = iota
	roleVerify
	roleMutate
)

// A provider is what matters of a Provider.
type provider struct {
	Metadata metadata
	Spec     struct {
		URL      string
		Timeout  int
		CABundle []byte
	}
	Status *struct{ ByPod []podStatus }
}

func (p *provider) ref() string { return ref(kindProvider, "", p.Metadata.Name) }

func (p *provider) timeout() time.Duration { return time.Duration(p.Spec.Timeout) * time.Second }

// parsed is the URL, or an empty one that is refused elsewhere.
func (p *provider) parsed() *url.URL {
	u, err := url.Parse(p.Spec.URL)
	if err != nil {
		return &url.URL{}
	}
	return u
}

func (p *provider) path() string { return p.parsed().Path }

// service is the Service that the URL leads to, and whether it leads to one.
func (p *provider) service() (name, namespace string, ok bool) {
	m := regexp.MustCompile(`^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.[a-z0-9.-]+)?\.?$`).FindStringSubmatch(p.parsed().Hostname())
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// roleOf is what ratify's objects use a Provider for.
func (x *examination) roleOf(p *provider) role {
	constraints, _ := decoded[constraint](x.Snapshot, kindConstraint)
	if p.Metadata.Name == verifyProvider || slices.ContainsFunc(constraints, func(c constraint) bool { return c.provider() == p.Metadata.Name }) {
		return roleVerify
	}
	mutations, _ := x.mutations()
	if p.Metadata.Name == mutateProvider || slices.ContainsFunc(mutations, func(a assign) bool { return a.Spec.Parameters.Assign.ExternalData.Provider == p.Metadata.Name }) {
		return roleMutate
	}
	return roleNone
}

// discover finds ratify's namespace: where a Provider's URL leads, or where a Deployment runs it.
func (s *Snapshot) discover(otherwise string) string {
	providers, _ := decoded[provider](s, kindProvider)
	for _, name := range []string{verifyProvider, mutateProvider} {
		for i := range providers {
			if _, namespace, ok := providers[i].service(); ok && providers[i].Metadata.Name == name {
				return namespace
			}
		}
	}
	deployments, _ := decoded[deployment](s, kindDeployment)
	for i := range deployments {
		if d := &deployments[i]; d.Metadata.Namespace != "" && len(serversOf(deployments[i:i+1], d.Metadata.Namespace)) > 0 {
			return d.Metadata.Namespace
		}
	}
	if otherwise == "" {
		return DefaultNamespace
	}
	return otherwise
}

func providerChecks() []check {
	return []check{
		{"provider-present", "there is each Provider that is asked", LevelError, providerPresent},
		{"provider-url", "the Providers' URLs lead to ratify", LevelError, providerURL},
		{"provider-timeout", "Gatekeeper waits longer for an answer than ratify takes to give one", LevelError, providerTimeout},
		{"provider-status", "Gatekeeper has taken up the Providers", LevelError, providerStatus},
		{"server-certificate-trust", "the Providers trust the server's certificate", LevelError, certificateTrust},
		{"server-certificate-name", "the server's certificate is for the host that is asked", LevelError, certificateName},
		{"server-certificate-expiry", "the server's certificate is valid for 30 days or more", LevelError, certificateExpiry},
	}
}

func providerPresent(x *examination) {
	providers, ok := list[provider](x, kindProvider)
	if !ok {
		return
	}
	asked := map[string]string{verifyProvider: ""}
	if constraints, unread := decoded[constraint](x.Snapshot, kindConstraint); unread == nil && len(constraints) > 0 {
		delete(asked, verifyProvider)
		for _, c := range constraints {
			asked[c.provider()] = c.ref()
		}
	}
	mutations, _ := x.mutations()
	for _, a := range mutations {
		asked[a.Spec.Parameters.Assign.ExternalData.Provider] = a.ref()
	}
	for _, p := range providers {
		delete(asked, p.Metadata.Name)
	}
	var missing []string
	for name := range asked {
		missing = append(missing, name)
	}
	for _, name := range sorted(missing) {
		x.find(asked[name], "there is no Provider "+ratify.Truncate(name), "Gatekeeper has nobody to ask, so every pod is denied", "install the chart, which makes "+verifyProvider+" and "+mutateProvider+", or name the Provider that there is")
	}
}

// providers calls for each Provider of ratify's. Without any the check at hand has no meaning: another one speaks of that.
func (x *examination) providers(each func(*provider, role)) {
	providers, ok := list[provider](x, kindProvider)
	if !ok {
		return
	}
	found := false
	for i := range providers {
		if r := x.roleOf(&providers[i]); r != roleNone {
			found = true
			each(&providers[i], r)
		}
	}
	if !found {
		x.moot("there is no Provider")
	}
}

// A service is what matters of a Service.
type service struct {
	Metadata metadata
	Spec     struct {
		Selector map[string]string
		Ports    []struct{ Port int }
	}
}

const unreachable = "Gatekeeper gets no verdict, so every pod is denied"

func providerURL(x *examination) {
	x.providers(func(p *provider, r role) {
		want, u := x.VerifyPath, p.parsed()
		if r == roleMutate {
			want = x.MutatePath
		}
		const remedy = "install the chart again, which makes the Providers (provider.url for one outside of the cluster)"
		if u.Scheme != "https" {
			x.find(p.ref(), "its url "+ratify.Quote(p.Spec.URL)+" is not one of https", "Gatekeeper refuses it, or anybody in between may answer", remedy)
		}
		if u.Path != want {
			x.find(p.ref(), "its url has the path "+ratify.Quote(u.Path)+", and ratify answers at "+want, unreachable, "set spec.url to end in "+want)
		}
		name, namespace, ok := p.service()
		if !ok {
			return
		}
		if namespace != x.namespace {
			x.unseenFor(&Unread{Reason: "the url leads to namespace " + namespace + ", and it is " + x.namespace + " that was looked at", Remedy: "--namespace " + namespace, Wanted: x.complete})
			return
		}
		x.leadsTo(p, name, u.Port())
	})
}

// leadsTo looks whether a Service has the port of a Provider's URL and the pods that answer.
func (x *examination) leadsTo(p *provider, name, port string) {
	services, ok := list[service](x, kindService)
	if !ok {
		return
	}
	i := slices.IndexFunc(services, func(s service) bool { return s.Metadata.Name == name && s.Metadata.Namespace == x.namespace })
	if i < 0 {
		x.find(p.ref(), "there is no "+ref(kindService, x.namespace, name)+", to which its url leads", unreachable, "set spec.url to the Service of ratify, or install the chart again")
		return
	}
	if port == "" {
		port = "443"
	}
	if !slices.ContainsFunc(services[i].Spec.Ports, func(s struct{ Port int }) bool { return strconv.Itoa(s.Port) == port }) {
		x.find(p.ref(), ref(kindService, x.namespace, name)+" has no port "+port, unreachable, "set the port of spec.url to the Service's")
	}
	deployments, unread := decoded[deployment](x.Snapshot, kindDeployment)
	if unread != nil {
		return
	}
	for _, s := range serversOf(deployments, x.namespace) {
		if (&selector{MatchLabels: services[i].Spec.Selector}).matches(s.deployment.Spec.Template.Metadata.Labels) {
			return
		}
	}
	x.find(p.ref(), ref(kindService, x.namespace, name)+" does not select the pods of a Deployment that runs ratify", unreachable, "set spec.url to the Service of ratify, or install the chart again")
}

func providerTimeout(x *examination) {
	x.providers(func(p *provider, r role) {
		if p.Spec.Timeout <= 0 {
			x.find(p.ref(), "spec.timeout is not set", "Gatekeeper gives up at once, so every pod is denied", "set spec.timeout to one second less than the webhook's timeout")
			return
		}
		for _, s := range x.understood() {
			deadline, flag := s.settings.VerifyTimeout, "--verify-timeout"
			if r == roleMutate {
				deadline, flag = s.settings.MutateTimeout, "--mutate-timeout"
			}
			if deadline >= p.timeout() {
				x.find(p.ref(), fmt.Sprintf("spec.timeout is %s, and %s of %s is %s", p.timeout(), flag, s.deployment.ref(), deadline),
					"Gatekeeper gives up before ratify answers: the denial says that time ran out, and not how far the image got",
					"set gatekeeper.validatingWebhookTimeoutSeconds and mutatingWebhookTimeoutSeconds in ratify's chart to Gatekeeper's, which makes both")
			}
		}
	})
}

func providerStatus(x *examination) {
	x.providers(func(p *provider, _ role) {
		if p.Status == nil {
			x.moot("what was given does not say what Gatekeeper makes of the Providers")
			return
		}
		for _, complaint := range trouble(p.Status.ByPod) {
			x.find(p.ref(), complaint, unreachable, "kubectl describe provider "+p.Metadata.Name+", and look at Gatekeeper's log")
		}
	})
}

// chains calls for each Provider with the chain of each server that it asks.
func (x *examination) chains(each func(*provider, *server, []*x509.Certificate)) {
	x.providers(func(p *provider, _ role) {
		for _, s := range x.understood() {
			chain, unread := x.pairOf(s)
			if unread != nil {
				x.unseenFor(unread)
				continue
			}
			each(p, s, chain)
		}
	})
}

// verified are the ways from a server's certificate to what a Provider trusts, at a time at which the certificate is valid.
func (p *provider) verified(chain []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range certificatesIn(p.Spec.CABundle) {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if now.After(chain[0].NotAfter) || now.Before(chain[0].NotBefore) {
		now = chain[0].NotBefore // that it has ended is another check's
	}
	return chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func certificateTrust(x *examination) {
	x.chains(func(p *provider, s *server, chain []*x509.Certificate) {
		if _, err := p.verified(chain, x.Now); err != nil {
			x.find(p.ref(), "its caBundle does not vouch for tls.crt of "+s.deployment.ref()+": "+ratify.Truncate(err.Error()), unreachable,
				"helm upgrade the chart, which makes both of one piece; without access to the cluster (helm template, GitOps) set provider.tls.crt, key and ca")
		}
	})
}

func certificateName(x *examination) {
	x.chains(func(p *provider, s *server, chain []*x509.Certificate) {
		host := p.parsed().Hostname()
		if err := chain[0].VerifyHostname(host); err != nil {
			x.find(p.ref(), "tls.crt of "+s.deployment.ref()+" is not for "+ratify.Quote(host)+", but for "+ratify.Truncate(commas(append(slices.Clone(chain[0].DNSNames), addresses(chain[0])...))), unreachable,
				"helm upgrade the chart, which makes a certificate for that host, or set provider.tls.crt to one that is")
		}
	})
}

func addresses(c *x509.Certificate) (list []string) {
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}

func certificateExpiry(x *examination) {
	told := map[string]bool{}
	x.chains(func(p *provider, s *server, chain []*x509.Certificate) {
		end := chain[0].NotAfter
		if ways, err := p.verified(chain, x.Now); err == nil {
			end = lastEnd(ways)
		}
		const remedy = "ask the chart for a new pair (provider.tls.rotation), or set provider.tls.crt, key and ca to new ones"
		message := ""
		switch left := end.Sub(x.Now); {
		case left < 0:
			message = "ended on " + end.UTC().Format(time.DateOnly)
		case left < expiryNotice:
			message = fmt.Sprintf("ends in %d days, on %s", int(left.Hours()/24), end.UTC().Format(time.DateOnly))
		case x.Now.Before(chain[0].NotBefore):
			message = "is not valid before " + chain[0].NotBefore.UTC().Format(time.RFC3339)
		}
		// One certificate is one finding, however many Providers ask its server.
		if place := s.deployment.ref(); message != "" && !told[place+message] {
			told[place+message] = true
			x.find(place, "the server's certificate, or its CA, "+message, "a certificate that is not valid is refused: "+unreachable, remedy)
		}
	})
}

// lastEnd is when the last way to a trusted certificate ends: each with the first of its certificates.
func lastEnd(ways [][]*x509.Certificate) (last time.Time) {
	for _, way := range ways {
		first := way[0].NotAfter
		for _, c := range way {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(last) {
			last = first
		}
	}
	return last
}
