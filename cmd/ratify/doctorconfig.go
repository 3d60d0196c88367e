package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/doctor"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/store/oras"
)

// A configJudge judges the configurations of pods as ratify check does, from the files that are at hand: they lie in a folder
// of its own, at the paths that they have in the pod.
type configJudge struct {
	root string
	n    int
	// registries are the hosts that the configurations name, and tenancy tells whether one has tenants.
	registries []string
	tenancy    bool
}

func newConfigJudge() (*configJudge, error) {
	root, err := os.MkdirTemp("", "ratify-doctor-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the pods' files: %w", err)
	}
	return &configJudge{root: root}, nil
}

// close removes the folder; what is left of it when that fails holds no secret.
func (j *configJudge) close() { _ = os.RemoveAll(j.root) }

// check is doctor.Options.Check.
func (j *configJudge) check(path string, pod map[string][]byte, lacks func(path string) bool) doctor.Configuration {
	j.n++
	root := filepath.Join(j.root, fmt.Sprint(j.n))
	data := pod[path]
	file, _ := config.Parse(data)
	var judged doctor.Configuration
	if file != nil {
		judged.Notes = lastingVerdicts(file.Policies)
		judged.Decoded, judged.GatekeeperCacheTTL, judged.Tenancy = true, time.Duration(file.GatekeeperCacheTTL), file.Tenancy.Enabled
	}
	if err := j.place(root, path, pod); err != nil {
		judged.Unread = []string{err.Error()}
		return judged
	}
	// Below the folder, and nowhere else: what this machine has at a path is not what the pod has there.
	set := &files.Set{}
	moved, back := j.moves(root, pod)
	g, err := (&process{}).buildFrom([]byte(moved.Replace(string(data))), set.Within(root))
	result := newCheckResult(path, g, err, time.Now())
	for _, line := range result.Errors {
		line = back.Replace(line)
		said, missing := absent(line, data, lacks)
		if foreign(line) && !missing {
			judged.Unread = append(judged.Unread, said)
		} else {
			judged.Errors = append(judged.Errors, said)
		}
	}
	for _, line := range result.Warnings {
		judged.Warnings = append(judged.Warnings, back.Replace(line))
	}
	if file != nil {
		j.registries, j.tenancy = append(j.registries, registriesOf(file)...), j.tenancy || file.Tenancy.Enabled
	}
	return judged
}

// lastingVerdicts says how much later a revocation takes effect.
func lastingVerdicts(policies []ratify.Policy) (notes []string) {
	for i, p := range policies {
		if p.LastKnownGood > 0 {
			notes = append(notes, fmt.Sprintf("%s: lastKnownGood: %s: while a registry or a revocation source is away, a revocation takes effect that much later",
				placeOf("policies", i, config.Module{Name: p.Name}), time.Duration(p.LastKnownGood)))
		}
	}
	return notes
}

// place writes the files of a pod, but for the configuration itself: where that is a Secret, it stays in memory.
func (j *configJudge) place(root, config string, pod map[string][]byte) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("keep the pods' files: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(pod)) {
		if path == config {
			continue
		}
		at := filepath.Join(root, filepath.Clean("/"+path)) // it cannot lead out
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return fmt.Errorf("keep the pods' files: %w", err)
		}
		if err := os.WriteFile(at, pod[path], 0o600); err != nil {
			return fmt.Errorf("keep the pods' files: %w", err)
		}
	}
	return nil
}

// moves are the replacements that lead from the pod's paths into the folder, and back.
func (j *configJudge) moves(root string, pod map[string][]byte) (moved, back *strings.Replacer) {
	directories := map[string]bool{}
	for path := range pod {
		directories[filepath.Dir(path)] = true
	}
	// The longest first, for one may lie below another.
	sorted := slices.SortedFunc(maps.Keys(directories), func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, directory := range sorted {
		pairs = append(pairs, directory, filepath.Join(root, directory))
	}
	return strings.NewReplacer(pairs...), strings.NewReplacer(root, "")
}

// absent says of an error about a file that is not at hand which file that is, and whether the pod lacks it: the error itself may
// name a directory on the way there alone.
func absent(line string, config []byte, lacks func(path string) bool) (said string, missing bool) {
	found := regexp.MustCompile(`(?:lstat|stat|open|read) (/\S*): (?:no such file or directory|it is not below.*)$`).FindStringSubmatchIndex(line)
	if found == nil {
		return line, false
	}
	at := line[found[2]:found[3]]
	var named, lacking []string
	// What a configuration calls a file is an absolute path in it.
	for _, path := range append(regexp.MustCompile(`/[^\s"'\[\]{},]+`).FindAllString(string(config), -1), at) {
		if path != at && !strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/") || slices.Contains(named, path) {
			continue
		}
		named = append(named, path)
		if lacks(path) {
			lacking = append(lacking, path)
		}
	}
	if len(lacking) > 0 {
		return line[:found[0]] + commas(lacking) + ": what the pod mounts there does not have it", true
	}
	if len(named) > 1 {
		named = named[:len(named)-1] // the directory on the way says less
	}
	return line[:found[0]] + commas(named) + ": it was not at hand", false
}

// foreign tells whether an error is about a file or a program that only the pod has.
func foreign(line string) bool {
	for _, words := range []string{"no such file or directory", "it is not below ", "is not on the PATH"} {
		if strings.Contains(line, words) {
			return true
		}
	}
	return false
}

// registriesOf are the registries that a configuration has entries for, but for patterns.
func registriesOf(file *config.File) (hosts []string) {
	for _, store := range file.Stores {
		var c oras.Config
		if store.Type != "oras" || store.Settings.Decode(&c) != nil {
			continue
		}
		for _, r := range c.Registries {
			if !strings.Contains(r.Host, "*") {
				hosts = append(hosts, r.Host)
			}
		}
	}
	return hosts
}
