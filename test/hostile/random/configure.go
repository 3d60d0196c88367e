package random

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// keys of JSON to be.
type fields = map[string]any

// render writes a configuration as an operator would.
func (p *pool) render(c *configuration, proxy string) ([]byte, error) {
	ttl := "1ns"
	if c.cached {
		ttl = "1h" // longer than a world
	}
	file := fields{
		"stores": []fields{{"name": "registries", "type": "oras", "scopes": []string{"*"}, "settings": fields{
			"registries": []fields{{"host": "*", "plainHTTP": true, "allowPrivate": true, "proxy": proxy}},
		}}},
		"cache": fields{"ttl": ttl, "refusalTTL": ttl, "tagTTL": ttl},
	}
	var verifiers, policies []fields
	for i := range c.verifiers {
		verifiers = append(verifiers, p.renderVerifier(&c.verifiers[i]))
	}
	for i := range c.policies {
		policies = append(policies, p.renderPolicy(&c.policies[i]))
	}
	file["verifiers"], file["policies"] = verifiers, policies
	if c.tenancy {
		tenancy := fields{"enabled": true}
		if c.refuse {
			tenancy["withoutPolicy"] = "refuse"
		}
		file["tenancy"] = tenancy
	}
	exemptions, err := p.renderExemptions(c.exemptions)
	if err != nil {
		return nil, err
	}
	if len(exemptions) > 0 {
		file["exemptions"] = exemptions
	}
	var mirrors []fields
	for _, m := range c.mirrors {
		evidence := "mirror"
		if m.origin {
			evidence = "origin"
		}
		mirrors = append(mirrors, fields{"pulledFrom": m.from, "verifyAs": m.as, "evidence": evidence})
	}
	if len(mirrors) > 0 {
		file["mirrors"] = mirrors
	}
	return json.Marshal(file)
}

func (p *pool) renderExemptions(list []exemption) (rendered []fields, err error) {
	for _, x := range list {
		one := fields{"reason": "for a while", "expires": p.began.Add(x.lasts).UTC().Format(time.RFC3339)}
		if len(x.scopes) > 0 {
			one["scopes"] = x.scopes
		}
		if len(x.namespaces) > 0 {
			one["namespaces"] = x.namespaces
		}
		var digests []digest.Digest
		for _, name := range x.subjects {
			c, err := p.subject(name)
			if err != nil {
				return nil, err
			}
			digests = append(digests, c.descriptor.Digest)
		}
		if len(digests) > 0 {
			one["digests"] = digests
		}
		rendered = append(rendered, one)
	}
	return rendered, nil
}

func (p *pool) renderVerifier(v *verifier) fields {
	settings := fields{}
	keys := func() {
		var list []fields
		for _, m := range v.trusted {
			if !isIdentity(m) {
				list = append(list, fields{"name": strings.ReplaceAll(string(m), " ", "-"), "file": p.files[m]})
			}
		}
		if len(list) > 0 {
			settings["keys"] = list
		}
		if v.tags {
			settings["cosignTags"] = true
		}
	}
	age := fmt.Sprintf("%dh", int(documentLasts.Hours()))
	switch v.kind {
	case byNotary:
		settings = p.notarySettings(v)
	case byCosign:
		keys()
	case byIdentity:
		settings["trustedRoot"] = p.root
		settings["identities"] = []fields{{"issuer": issuerURL, "subject": builderURL}}
		keys()
	case ofBills:
		keys()
		settings["licenses"], settings["maxAge"] = fields{"disallowed": []string{disallowedLicense}}, age
	case ofScans:
		keys()
		settings["disallowedSeverities"], settings["maxAge"] = []string{"critical", "high"}, age
	case ofReviews:
		keys()
		settings["predicateType"] = predicateReview
	}
	kind := string(v.kind)
	if v.kind == byIdentity {
		kind = string(byCosign)
	}
	rendered := fields{"name": v.name, "type": kind, "settings": settings}
	if len(v.signedBy) > 0 {
		rendered["signedBy"] = v.signedBy
	}
	if v.pieces != "" {
		rendered["evidence"] = v.pieces
	}
	return rendered
}

// notarySettings are trust stores, one for each authority, and a trust policy.
func (p *pool) notarySettings(v *verifier) fields {
	var stores []fields
	var names []string
	for _, m := range v.trusted {
		stores = append(stores, fields{"type": "ca", "name": string(m), "files": []string{p.files[m]}})
		names = append(names, "ca:"+string(m))
	}
	identities := []string{"*"}
	if v.only != "" {
		identities = []string{p.subjectName(v.only)}
	}
	var statements []fields
	add := func(name string, scopes []string, l level) {
		s := fields{"name": name, "registryScopes": scopes, "signatureVerification": fields{"level": string(l)}}
		if l != skip {
			s["trustStores"], s["trustedIdentities"] = names, identities
		}
		statements = append(statements, s)
	}
	if v.level != "" {
		add("all", []string{"*"}, v.level)
	}
	if len(v.specials) > 0 {
		add("special", v.specials, v.special)
	}
	return fields{
		"trustStores": stores, "trustPolicy": fields{"version": "1.0", "trustPolicies": statements}, "allowPrivateRevocation": true,
	}
}

func (p *pool) renderPolicy(of *policy) fields {
	rendered := fields{"name": of.name, "scopes": of.scopes}
	if of.require.flat {
		rendered["verifiers"] = namesOf(of.require)
		switch of.require.need {
		case 0:
			rendered["require"] = "all"
		case 1:
			rendered["require"] = "any"
		default:
			rendered["require"] = of.require.need
		}
	} else {
		rendered["require"] = renderTree(of.require)
	}
	if len(of.namespaces) > 0 {
		rendered["namespaces"] = of.namespaces
	}
	if of.audit {
		rendered["mode"] = "audit"
	}
	if of.platforms != "" {
		rendered["platforms"] = of.platforms
	}
	if text := of.rule.expression(); text != "" {
		rendered["rule"] = text
	}
	return rendered
}

func renderTree(t tree) any {
	if t.verifier != "" {
		return t.verifier
	}
	var children []any
	for _, child := range t.of {
		children = append(children, renderTree(child))
	}
	switch t.need {
	case 0:
		return fields{"all": children}
	case 1:
		return fields{"any": children}
	}
	return fields{"atLeast": t.need, "of": children}
}

// expression is a rule in the language of policies.
func (r condition) expression() string {
	return map[string]string{
		always:       `image.digest.startsWith("sha256:")`,
		atLeastTwo:   `size(evidence) >= 2`,
		passedBy:     fmt.Sprintf(`evidence.exists(e, e.verifier == %q)`, r.text),
		inRepository: fmt.Sprintf(`image.repository == %q`, r.text),
	}[r.form]
}

// spell writes a key as a pod would.
func (p *pool) spell(k key) (string, error) {
	if k.malformed() {
		return k.bad, nil
	}
	host, path, _ := strings.Cut(k.repo, "/")
	switch k.spelling {
	case upperHost:
		host = strings.ToUpper(host)
	case withPort:
		host += ":443"
	case indexHost:
		host = "index." + host
	}
	text := host + "/" + path
	if k.spelling == shortName {
		text = strings.TrimPrefix(path, "library/")
	}
	if k.tag != "" && k.spelling != noTag {
		text += ":" + k.tag
	}
	if k.subject != "" {
		c, err := p.subject(k.subject)
		if err != nil {
			return "", err
		}
		text += "@" + c.descriptor.Digest.String()
	}
	if k.namespace != "" {
		text = "[" + k.namespace + "]" + text
	}
	return text, nil
}
