//go:build unix

package credprogram

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

const plantedSecret = "planted-secret"

// modeVariable makes the test binary the program that it names: a child gets no other variable than those it is given.
const modeVariable = "CREDPROGRAM_TEST_MODE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		play(mode)
		return
	}
	os.Exit(m.Run())
}

// play is what a program does in a mode.
func play(mode string) {
	input, _ := io.ReadAll(os.Stdin)
	directory := os.Getenv("CREDPROGRAM_TEST_DIR")
	switch mode {
	case "helper":
		if string(input) == "https://index.docker.io/v1/" {
			fmt.Printf(`{"ServerURL":"https://index.docker.io/v1/","Username":"<token>","Secret":%q}`, plantedSecret)
			return
		}
		fmt.Printf(`{"ServerURL":%q,"Username":%q,"Secret":%q}`, input, strings.Join(os.Args[1:], " "), plantedSecret)
	case "environment":
		environment := os.Environ()
		slices.Sort(environment)
		working, _ := os.Getwd()
		fmt.Printf(`{"Username":%q,"Secret":"s"}`, strings.Join(append(environment, working), "\n"))
	case "not found":
		fmt.Println(notFound)
		os.Exit(1)
	case "no server":
		fmt.Printf("%s\n%s\n", noServer, plantedSecret)
		os.Exit(3)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "empty":
		fmt.Print(`{"ServerURL":"","Username":"","Secret":""}`)
	case "fails":
		fmt.Println(plantedSecret)
		fmt.Fprintln(os.Stderr, plantedSecret)
		os.Exit(1)
	case "malformed":
		fmt.Print(plantedSecret)
	case "endless":
		for {
			if _, err := fmt.Print(strings.Repeat(plantedSecret, 100)); err != nil {
				os.Exit(1)
			}
		}
	case "sleeps":
		time.Sleep(time.Hour)
	case "leaves a child":
		child := exec.Command("sleep", "3600")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			os.Exit(3)
		}
		_ = os.WriteFile(filepath.Join(directory, "child"), []byte(strconv.Itoa(child.Process.Pid)), 0o600)
		fmt.Print(`{"Username":"u","Secret":"s"}`)
	case "waits with a child":
		child := exec.Command("sleep", "3600")
		if err := child.Start(); err != nil {
			os.Exit(3)
		}
		_ = os.WriteFile(filepath.Join(directory, "child"), []byte(strconv.Itoa(child.Process.Pid)), 0o600)
		_ = child.Wait()
	case "plugin":
		_ = os.WriteFile(filepath.Join(directory, "request"), input, 0o600)
		_ = os.WriteFile(filepath.Join(directory, "args"), []byte(strings.Join(os.Args[1:], " ")), 0o600)
		fmt.Print(os.Getenv("CREDPROGRAM_TEST_ANSWER"))
	}
}

// testBinary is the path of this binary.
func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newTestHelper(t *testing.T, mode string, more ...Variable) *Helper {
	t.Helper()
	h, err := NewHelper(testBinary(t), append([]Variable{{modeVariable, mode}}, more...))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHelper(t *testing.T) {
	for _, tc := range []struct {
		mode, host string
		want       auth.Credential
		err        string
	}{
		{"helper", "registry.example:5000", auth.Credential{Username: "get", Password: plantedSecret}, ""},
		{"helper", "docker.io", auth.Credential{RefreshToken: plantedSecret}, ""},
		{"not found", "a.example", auth.Credential{}, ""},
		{"empty", "a.example", auth.Credential{}, ""},
		{"fails", "a.example", auth.Credential{}, "failed with exit code 1"},
		{"no server", "a.example", auth.Credential{}, "failed with exit code 3: no credentials server URL"},
		{"killed", "a.example", auth.Credential{}, "failed: it was ended by a signal"},
		{"malformed", "a.example", auth.Credential{}, "malformed"},
		{"endless", "a.example", auth.Credential{}, "wrote more than 65536 bytes"},
	} {
		t.Run(tc.mode+" "+tc.host, func(t *testing.T) {
			got, err := newTestHelper(t, tc.mode).Get(t.Context(), tc.host)
			if got != tc.want {
				t.Errorf("%q, want %q", got.Username, tc.want.Username)
			}
			checkError(t, err, tc.err)
		})
	}
}

// checkError checks an error by a part of its text, that it is an *Error, and that it says nothing that a program said.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), plantedSecret) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/planted/path")
	t.Setenv("HOME", "/planted/home")
	t.Setenv("PLANTED", plantedSecret)
	got, err := newTestHelper(t, "environment", Variable{"B", "2"}, Variable{"B", "3"}).Get(t.Context(), "a.example")
	want := "B=3\nCREDPROGRAM_TEST_MODE=environment\nHOME=/planted/home\nPATH=/planted/path\n/"
	if err != nil || got.Username != want {
		t.Errorf("environment %q, want %q (%v)", got.Username, want, err)
	}
}

func TestTimeIsBounded(t *testing.T) {
	h := newTestHelper(t, "sleeps")
	h = h.WithTimeout(200 * time.Millisecond)
	started := time.Now()
	_, err := h.Get(t.Context(), "a.example")
	checkError(t, err, "did not answer in 200ms")
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

// Children die with their program: the one that it waits for at the end of its time, and the one that it left behind.
func TestChildrenAreKilled(t *testing.T) {
	for mode, want := range map[string]string{"waits with a child": "did not answer", "leaves a child": "kept its output open"} {
		t.Run(mode, func(t *testing.T) {
			directory := t.TempDir()
			h := newTestHelper(t, mode, Variable{"CREDPROGRAM_TEST_DIR", directory})
			h.program.timeout = 2 * time.Second
			_, err := h.Get(t.Context(), "a.example")
			checkError(t, err, want)
			text, err := os.ReadFile(filepath.Join(directory, "child"))
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if !gone(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Error("the child lives on")
			}
		})
	}
}

// gone waits, for at most five seconds, until a process has ended; one that nobody has waited for yet has.
func gone(pid int) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-tick.C {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}

func TestNewHelperRefuses(t *testing.T) {
	directory := t.TempDir()
	plain := filepath.Join(directory, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", directory)
	for name, want := range map[string]string{
		"":                               "neither the name of a helper nor an absolute path",
		"a b":                            "neither the name of a helper nor an absolute path",
		"-x":                             "neither the name of a helper nor an absolute path",
		"gone":                           "docker-credential-gone is not on the PATH",
		"./helper":                       "no such file",
		plain:                            "no program that can be run",
		directory:                        "no program that can be run",
		filepath.Join(directory, "none"): "no such file",
	} {
		if _, err := NewHelper(name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", name, err, want)
		}
	}
}

func TestHelperOnThePath(t *testing.T) {
	directory := t.TempDir()
	if err := os.Symlink(testBinary(t), filepath.Join(directory, "docker-credential-test.helper")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", directory)
	h, err := NewHelper("test.helper", []Variable{{modeVariable, "helper"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.Get(t.Context(), "a.example"); err != nil || got.Password != plantedSecret {
		t.Errorf("%q: %v", got.Username, err)
	}
}
