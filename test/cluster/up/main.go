// Command up runs the test cluster until it is interrupted, and says how to use it. With -build it only makes the programs that
// the cluster consists of, which takes minutes the first time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify/test/cluster"
)

func main() {
	build := flag.Bool("build", false, "make the programs and end")
	workloads := flag.Bool("workloads", true, "make pods of workloads, and let them be ready")
	flag.Parse()
	if err := run(*build, *workloads); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

func run(build, workloads bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := func(format string, args ...any) {
		fmt.Printf("%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}
	binaries, err := cluster.Build(ctx, progress)
	if err != nil || build {
		return err
	}
	dir, err := os.MkdirTemp("", "ratify-cluster-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := cluster.Start(ctx, cluster.Options{Binaries: binaries, Dir: dir, Progress: progress, Workloads: workloads})
	if err != nil {
		return err
	}
	defer c.Stop()
	fmt.Printf("\nexport PATH=%s:%s:$PATH\nexport %s\n\nlogs in %s; end with ctrl-c\n",
		filepath.Dir(binaries["kubectl"]), filepath.Dir(binaries["helm"]), strings.Join(c.Env(), "\nexport "), dir)
	<-ctx.Done()
	return nil
}
