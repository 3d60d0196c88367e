package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// A versionInfo says which program this is.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readVersion is what the linker and the Go tool have written into the program.
func readVersion() versionInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return describeBuild(version, info)
}

func describeBuild(linked string, info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if linked == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version // go install …@version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Commit = setting.Value
		case "vcs.time":
			v.Time = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	var output format
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Example: `  ratify version
  ratify version -o json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if output != formatText {
				return output.print(a.out, v)
			}
			v.print(a.out)
			return nil
		},
	}
	addOutputFlag(command, &output)
	return command
}

func (v *versionInfo) print(w io.Writer) {
	fmt.Fprintf(w, "ratify %s (%s)\n", v.Version, v.Platform)
	if v.Commit != "" {
		changed := ""
		if v.Modified {
			changed = ", changed since"
		}
		fmt.Fprintf(w, "commit %s of %s%s\n", v.Commit, v.Time, changed)
	}
	fmt.Fprintf(w, "built with %s\n", v.Go)
}

func noArguments(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("", "%s takes no arguments, got %q", command.CommandPath(), args)
	}
	return nil
}
