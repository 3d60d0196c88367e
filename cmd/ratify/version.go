package main

import (
	"fmt"
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
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
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
			fmt.Fprintf(a.out, "ratify %s (%s)\n", v.Version, v.Platform)
			if v.Commit != "" {
				fmt.Fprintf(a.out, "commit %s of %s, modified: %t\n", v.Commit, v.Time, v.Modified)
			}
			fmt.Fprintf(a.out, "built with %s\n", v.Go)
			return nil
		},
	}
	addOutputFlag(command, &output)
	return command
}

func noArguments(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("", "%s takes no arguments, got %q", command.CommandPath(), args)
	}
	return nil
}
