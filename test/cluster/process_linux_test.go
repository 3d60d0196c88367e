package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// parentVariable makes this test's program a parent that starts a process and waits to be killed.
const parentVariable = "CLUSTER_TEST_PARENT"

// TestProcessDiesWithItsParent kills a parent the way a test's timeout does: without a chance to clean up.
func TestProcessDiesWithItsParent(t *testing.T) {
	if dir := os.Getenv(parentVariable); dir != "" {
		p, err := StartProcess(dir, "child", nil, "/bin/sleep", "600")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("child", p.cmd.Process.Pid)
		<-p.Done()
		return
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestProcessDiesWithItsParent$")
	parent.Env = append(os.Environ(), parentVariable+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "child ")))
	if err != nil {
		t.Fatalf("the parent says %q: %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent was not killed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = Until(ctx, func(context.Context) error {
		name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(child), "stat"))
		if err != nil || strings.Contains(string(name), ") Z ") {
			return nil
		}
		return errors.New("the child lives")
	})
	if err != nil {
		t.Error(err)
	}
}
