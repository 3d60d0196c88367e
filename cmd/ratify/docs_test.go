package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/spf13/pflag"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestManualNamesEveryFlag: docs/command.md has each command and each flag, and none that there is not.
func TestManualNamesEveryFlag(t *testing.T) {
	page := readDoc(t, "command.md")
	known := map[string]bool{"--help": true, "--COMMAND": true}
	for _, command := range newApp(nil, nil, nil).rootCommand().Commands() {
		if !strings.Contains(page, "ratify "+command.Name()) {
			t.Errorf("the manual lacks ratify %s", command.Name())
		}
		command.Flags().VisitAll(func(f *pflag.Flag) {
			known["--"+f.Name] = true
			if !strings.Contains(page, "`--"+f.Name) {
				t.Errorf("the manual lacks --%s of ratify %s", f.Name, command.Name())
			}
		})
	}
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(page, -1) {
		if !known[flag] {
			t.Errorf("the manual names %s, which there is not", flag)
		}
	}
}

// TestConfigurationsOfTheManual: each configuration in docs/configuration.md is one, but for the files it names.
func TestConfigurationsOfTheManual(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readDoc(t, "configuration.md"), -1)
	if len(blocks) < 3 {
		t.Fatalf("%d configurations found", len(blocks))
	}
	for i, block := range blocks {
		file, err := config.Parse([]byte(block[1]))
		if err != nil {
			t.Errorf("block %d: %v", i, err)
			continue
		}
		_, err = (&process{}).buildFrom([]byte(block[1]), &files.Set{})
		for _, line := range strings.Split(errorText(err), "\n") {
			if line != "" && !strings.Contains(line, "no such file or directory") && !onlyStores(file, line) {
				t.Errorf("block %d: %s", i, line)
			}
		}
	}
}

// onlyStores: a block that shows stores alone lacks no more than the rest.
func onlyStores(file *config.File, line string) bool {
	return len(file.Verifiers) == 0 && strings.HasPrefix(line, "policies")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
