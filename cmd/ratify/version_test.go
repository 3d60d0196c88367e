package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	stamped := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"}, {Key: "GOOS", Value: "plan9"},
	}
	platform := " (" + runtime.GOOS + "/" + runtime.GOARCH + ")\n"
	for name, c := range map[string]struct {
		linked string
		info   debug.BuildInfo
		want   string
	}{
		"a release":       {"v1.2.3", debug.BuildInfo{Main: debug.Module{Version: "v0.0.1"}}, "ratify v1.2.3" + platform},
		"go install":      {"dev", debug.BuildInfo{Main: debug.Module{Version: "v0.0.1"}}, "ratify v0.0.1" + platform},
		"go run":          {"dev", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "ratify dev" + platform},
		"nothing known":   {"dev", debug.BuildInfo{}, "ratify dev" + platform},
		"from a checkout": {"dev", debug.BuildInfo{Settings: stamped}, "ratify dev" + platform + "commit abc of 2026-01-02T03:04:05Z, changed since\n"},
		"from a commit":   {"dev", debug.BuildInfo{Settings: stamped[:2]}, "ratify dev" + platform + "commit abc of 2026-01-02T03:04:05Z\n"},
	} {
		var out strings.Builder
		v := describeBuild(c.linked, &c.info)
		v.print(&out)
		if want := c.want + "built with " + runtime.Version() + "\n"; out.String() != want {
			t.Errorf("%s: %s, want %s", name, &out, want)
		}
	}
}
