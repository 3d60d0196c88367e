package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ratify-provider/ratify"
)

// printEvidence prints what each verifier of the policy makes of each piece of evidence.
func (a *app) printEvidence(r *inspection) {
	if r.Policy == "" && r.Problem == nil {
		return
	}
	root := &node{text: "Evidence, as policy " + plain(r.Policy) + " sees it"}
	if r.Policy == "" {
		root.text = "Evidence, as no policy sees it"
	}
	if r.Problem != nil {
		root.add("%s %s: %s", a.mark(false, r.Problem.Code), r.Problem.Code, r.Problem.Message)
	}
	byName := map[string]*node{}
	for i := range r.Evidence {
		v := &r.Evidence[i]
		if byName[v.Name] == nil {
			byName[v.Name] = root.add("%s (%s)", plain(v.Name), plain(v.Type))
		}
		a.growEvidence(byName[v.Name], v, r.Digest.String())
	}
	fmt.Fprintln(a.out)
	root.print(a.out)
}

// growEvidence hangs what a verifier says of a piece below a node: the verdict, what to do, the facts, and who vouches for
// it. subject is what the piece is attached to, where that need not be said.
func (a *app) growEvidence(parent *node, v *ratify.VerifierReport, subject string) {
	line := a.mark(v.IsSuccess, v.Code)
	if v.Reference != "" {
		line += " " + plain(string(v.Reference))
	}
	n := parent.add("%s %s: %s", line, v.Code, v.Message)
	if !v.IsSuccess && v.Remedy != "" {
		n.add("remedy: %s", a.remedy(v.Remedy))
	}
	n.addField("artifact type", v.ArtifactType)
	if of := digestOf(v).String(); of != subject {
		n.addField("of", of)
	}
	n.addFacts(v.Extensions)
	if len(v.NestedReports) == 0 {
		return
	}
	vouchers := n.add("who vouches for it")
	for i := range v.NestedReports {
		nested := &v.NestedReports[i]
		a.growEvidence(vouchers.add("%s (%s)", plain(nested.Name), plain(nested.Type)), nested, string(v.Reference))
	}
}

// addFacts adds a line for each fact that a verifier found, up to a bound. Lists and maps are shown as JSON.
func (n *node) addFacts(facts map[string]any) {
	for i, name := range slices.Sorted(maps.Keys(facts)) {
		if i == maxShownAttributes {
			n.add("… and %d more", len(facts)-i)
			return
		}
		text, isText := facts[name].(string)
		if !isText {
			data, err := json.Marshal(facts[name])
			if err != nil {
				continue // a number that JSON has none of: no verifier's
			}
			text = string(data)
		}
		n.add("%s: %s", plain(name), plain(text))
	}
}
