// Package doctor looks at an installation of ratify beside Gatekeeper and names each gap with its remedy: what would admit
// an image that was not proven, what would deny every image, and what will do so before long. It reads objects and decides;
// it changes nothing, and asks no registry and no provider. What it was not allowed to read, or was not given, it names
// too: what was not looked at is never taken for good.
//
// Begin at Examine; FromFiles and FromCluster read what it looks at.
package doctor

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Level says how bad a finding is.
type Level string

// The levels: what admits or denies wrongly now, and what may do so in circumstances or before long.
const (
	LevelError   Level = "error"
	LevelWarning Level = "warning"
)

// A Finding is one gap.
type Finding struct {
	// Check is the name of the check that found it, one of Checks.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Object is where it is, as kubectl names it: kind/name, with its namespace in brackets where it has one.
	Object string `json:"object,omitempty"`
	// Message is what is there, Why what comes of it, and Remedy the command to run or the field to set.
	Message string `json:"message"`
	Why     string `json:"why"`
	Remedy  string `json:"remedy"`
}

// An Unseen is a check that could not be made, or not wholly.
type Unseen struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy,omitempty"`
	// Wanted tells that it was meant to be looked at, and was not: a right is missing, or an answer. It is false for what
	// lies outside of what was given, or has no meaning because of a finding.
	Wanted bool `json:"wanted"`
}

// A Note is something that an operator should know and may well mean.
type Note struct {
	Check   string `json:"check"`
	Message string `json:"message"`
}

// A Report is what was found.
type Report struct {
	Findings    []Finding `json:"findings"`
	NotLookedAt []Unseen  `json:"notLookedAt"`
	Notes       []Note    `json:"notes"`
	// Passed are the checks that found nothing, each with what is good.
	Passed []Note `json:"passed"`
	// Skipped are the checks that were not wanted.
	Skipped []string `json:"skipped,omitempty"`
}

// Blind tells whether something that was meant to be looked at was not.
func (r *Report) Blind() bool {
	return slices.ContainsFunc(r.NotLookedAt, func(u Unseen) bool { return u.Wanted })
}

// Options are what the examination must know of the program, for it knows neither its flags nor its configuration.
type Options struct {
	// Now is the time at which certificates are judged.
	Now time.Time
	// Templates are the ConstraintTemplates that the program comes with.
	Templates []Template
	// VerifyPath and MutatePath are where the program answers.
	VerifyPath, MutatePath string
	// Parse reads the arguments of the program's server.
	Parse func(args []string) (Settings, error)
	// Check judges the configuration that a server reads from a path, given the files of its pod by their paths; lacks tells of
	// another path that the pod mounts something there that is known not to have it.
	Check func(path string, files map[string][]byte, lacks func(path string) bool) Configuration
	// Skip are checks that are not wanted.
	Skip []string
}

// Settings are what the arguments of a server say.
type Settings struct {
	Config, CertDir, ClientCA string
	// Address is where it listens for Gatekeeper: host:port, or :port.
	Address                      string
	ClientNames                  []string
	NoClientAuth                 bool
	VerifyTimeout, MutateTimeout time.Duration
}

// A Configuration is what the program says of a configuration file.
type Configuration struct {
	Errors, Warnings []string
	// Notes are what an operator should know and may well mean.
	Notes []string
	// Unread are errors about files that the pod has and that were not at hand.
	Unread []string
	// Decoded tells that the rest is what the file says.
	Decoded            bool
	GatekeeperCacheTTL time.Duration
	Tenancy            bool
}

// A check is one question to an installation.
type check struct {
	name string
	// good is said where nothing is found.
	good  string
	level Level
	run   func(*examination)
}

// checks are all of them, in the order of the way that a request takes.
func checks() []check {
	return slices.Concat(gatekeeperChecks(), webhookChecks(), constraintChecks(), providerChecks(), serverChecks())
}

// Checks are the names of all checks, in the order in which they are made.
func Checks() []string {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}

// An examination is what the checks of one installation share.
type examination struct {
	*Snapshot
	Options
	report  *Report
	current check
	// unseen tells that the check at hand could not be made, or not wholly.
	unseen bool
	// parsed keeps what the servers' arguments and configurations say.
	parsed map[string]*server
}

// Examine makes all checks on what was read of an installation.
func Examine(s *Snapshot, options Options) *Report {
	x := &examination{Snapshot: s, Options: options, parsed: map[string]*server{},
		report: &Report{Findings: []Finding{}, NotLookedAt: []Unseen{}, Notes: []Note{}, Passed: []Note{}}}
	for _, c := range checks() {
		if slices.Contains(options.Skip, c.name) {
			x.report.Skipped = append(x.report.Skipped, c.name)
			continue
		}
		before := len(x.report.Findings)
		x.current, x.unseen = c, false
		c.run(x)
		if len(x.report.Findings) == before && !x.unseen {
			x.report.Passed = append(x.report.Passed, Note{c.name, c.good})
		}
	}
	x.report.NotLookedAt = joinUnseen(x.report.NotLookedAt)
	return x.report
}

// joinUnseen drops what is said twice of one check.
func joinUnseen(list []Unseen) []Unseen {
	var joined = []Unseen{}
	for _, u := range list {
		if !slices.Contains(joined, u) {
			joined = append(joined, u)
		}
	}
	return joined
}

// find keeps a finding of the check at hand.
func (x *examination) find(object, message, why, remedy string) {
	x.report.Findings = append(x.report.Findings, Finding{x.current.name, x.current.level, object, message, why, remedy})
}

// unseenFor keeps that the check at hand could not be made because something was not read.
func (x *examination) unseenFor(u *Unread) {
	x.unseen = true
	x.report.NotLookedAt = append(x.report.NotLookedAt, Unseen{x.current.name, u.Reason, u.Remedy, u.Wanted})
}

// moot keeps that the check at hand has no meaning here.
func (x *examination) moot(reason string) { x.unseenFor(&Unread{Reason: reason}) }

func (x *examination) note(message string) {
	x.report.Notes = append(x.report.Notes, Note{x.current.name, message})
}

// list are the objects of a kind. Where they were not read, the check at hand says so, and ok is false.
func list[T any](x *examination, kind string) (objects []T, ok bool) {
	objects, unread := decoded[T](x.Snapshot, kind)
	if unread != nil {
		x.unseenFor(unread)
		return nil, false
	}
	return objects, true
}

// ref is how an object is named to people.
func ref(kind, namespace, name string) string {
	if namespace == "" {
		return kind + "/" + name
	}
	return kind + "/" + name + " [" + namespace + "]"
}

func commas(items []string) string { return strings.Join(items, ", ") }

// sorted are the distinct items in order.
func sorted[T cmp.Ordered](items []T) []T {
	list := slices.Clone(items)
	slices.Sort(list)
	return slices.Compact(list)
}
