// Image writes the provider's container image as an OCI image layout, without a container engine: the program built
// static for each platform, alone on scratch. The same sources, version and Go release give the same bytes, so that
// whoever builds it again can compare digests with what was published.
//
//	go run . -o ../../dist/image -version v1.2.3
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	source    string
	pkg       string
	binaryDir string
	out       string
	version   string
	tags      string
	revision  string
	platforms []platform
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.binaryDir == "" {
		dir, err := os.MkdirTemp("", "ratify-image-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.binaryDir = dir
		for _, p := range o.platforms {
			fmt.Fprintf(stdout, "building for %s\n", p)
			if err := build(ctx, o, p); err != nil {
				return err
			}
		}
	}
	digest, err := write(o)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s\n%s@%s\n", o.out, tag(o.version), digest)
	return nil
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.source, "source", filepath.Join("..", ".."), "folder of the main module")
	flags.StringVar(&o.pkg, "package", "./cmd/ratify", "package of the program, in the main module")
	flags.StringVar(&o.binaryDir, "binary-dir", "", "folder of programs built already, as ratify-linux-amd64 and so on; by default they are built")
	flags.StringVar(&o.out, "o", "", "folder to write the layout to; what it holds is replaced if it is a layout (required)")
	flags.StringVar(&o.version, "version", "dev", "version of the program, and tag of the image")
	flags.StringVar(&o.tags, "tags", "", "build tags of the program")
	flags.StringVar(&o.revision, "revision", "", "commit that the image is built from, for its label")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "platforms, separated by commas")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.out == "" {
		return o, errors.New("-o is required: the folder to write the layout to")
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	for _, text := range strings.Split(*platforms, ",") {
		p, err := parsePlatform(text)
		if err != nil {
			return o, err
		}
		o.platforms = append(o.platforms, p)
	}
	return o, nil
}

// A platform is an operating system and an architecture in Go's words, which are also those of OCI.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

// binary is the file name of the program for the platform.
func (p platform) binary() string { return "ratify-" + p.os + "-" + p.arch }

func parsePlatform(text string) (platform, error) {
	goos, arch, ok := strings.Cut(text, "/")
	if !ok || goos == "" || arch == "" || strings.Contains(arch, "/") {
		return platform{}, fmt.Errorf("platform %q: expected os/architecture, such as linux/arm64", text)
	}
	return platform{goos, arch}, nil
}

// build makes the static program. -trimpath leaves out where it was built, and -buildvcs=false whether the checkout was
// clean: neither changes what it does, and both would change its bytes.
func build(ctx context.Context, o options, p platform) error {
	out, err := filepath.Abs(filepath.Join(o.binaryDir, p.binary()))
	if err != nil {
		return err
	}
	//nolint:gosec // the arguments are the command line of whoever builds
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", o.tags,
		"-ldflags", "-s -w -X main.version="+o.version, "-o", out, o.pkg)
	cmd.Dir = o.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOFLAGS=", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s: %w\n%s", o.pkg, p, err, text)
	}
	return nil
}
