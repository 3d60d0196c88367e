package world

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
)

// VerifyPath is where all servers answer.
const VerifyPath = "/ratify/gatekeeper/v1/verify"

// The subcommands under which the program that measures must call RunFloor and RunEcho: it starts itself again.
const (
	FloorCommand = "floor"
	EchoCommand  = "echo"
)

// Options are what all servers have in common.
type Options struct {
	PKI *PKI
	// Args and Env are added to what the server gets; of a flag that is said twice the last one counts.
	Args, Env []string
	// Dir is where the server's files are while it runs; empty is the system's directory for such.
	Dir string
}

// A Server answers Gatekeeper, in a process of its own. Its methods are safe for concurrent use.
type Server struct {
	name, url, health string
	client            *tls.Config
	startedIn         time.Duration
	process           *process // nil for a peer
}

// errPeer is for what can only be told of a process that was started here.
var errPeer = errors.New("a peer is no process of this program")

// BuildRatify builds ratify as it is released from the module in root into dir, and returns the path of the binary. If root is
// empty, it is the module that the working directory's one is built with.
func BuildRatify(ctx context.Context, root, dir string) (string, error) {
	if root == "" {
		out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/ratify-provider/ratify").Output()
		if err != nil {
			return "", fmt.Errorf("find the module: %w", err)
		}
		root = strings.TrimSpace(string(out))
	}
	path, err := filepath.Abs(filepath.Join(dir, "ratify"))
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", path, "./cmd/ratify") //nolint:gosec // the path is the caller's
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if words, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ratify: %w\n%s", err, bytes.TrimSpace(words))
	}
	return path, nil
}

// StartRatify starts a binary of ratify under the configuration, and returns when it is ready.
func StartRatify(ctx context.Context, binary string, config Config, options Options) (*Server, error) {
	return start(ctx, "ratify", options, func(dir string) (string, []string, error) {
		if err := os.Mkdir(configDir(dir), 0o750); err != nil {
			return "", nil, err
		}
		args := []string{
			"serve", "--config=" + filepath.Join(configDir(dir), configName), "--cert-dir=" + options.PKI.CertDir,
			"--client-ca=" + options.PKI.ClientCAFile, "--client-name=" + clientName, "--shutdown-delay=0s",
		}
		_, err := config.write(configDir(dir))
		return binary, args, err
	})
}

// configDir is apart from the log: ratify watches it, and would be told of every record that it writes itself.
func configDir(dir string) string { return filepath.Join(dir, "config") }

// StartFloor starts the floor for a registry and for signers of Notation, by this program's FloorCommand.
func StartFloor(ctx context.Context, registry *Registry, signers []*Signer, options Options) (*Server, error) {
	return start(ctx, "floor", options, func(dir string) (string, []string, error) {
		var roots []byte
		for _, signer := range signers {
			roots = append(roots, signer.root...)
		}
		trust, ca := filepath.Join(dir, "trust.pem"), ""
		err := os.WriteFile(trust, roots, 0o600)
		if registry.CA() != nil {
			ca = filepath.Join(dir, "registry-ca.pem")
			err = errors.Join(err, os.WriteFile(ca, registry.CA(), 0o600))
		}
		return self(FloorCommand, options, err, "--trust="+trust, "--registry-ca="+ca)
	})
}

// StartEcho starts the echo of a recorded answer, by this program's EchoCommand.
func StartEcho(ctx context.Context, recorded *Recording, options Options) (*Server, error) {
	return start(ctx, "echo", options, func(dir string) (string, []string, error) {
		response, records := filepath.Join(dir, "response.json"), filepath.Join(dir, "records.json")
		err := errors.Join(os.WriteFile(response, recorded.Response, 0o600), os.WriteFile(records, bytes.Join(recorded.Records, []byte("\n")), 0o600))
		return self(EchoCommand, options, err, "--response="+response, "--records="+records)
	})
}

// self is this program with a subcommand.
func self(command string, options Options, err error, flags ...string) (string, []string, error) {
	binary, selfErr := os.Executable()
	args := append([]string{command, "--cert-dir=" + options.PKI.CertDir, "--client-ca=" + options.PKI.ClientCAFile}, flags...)
	return binary, args, errors.Join(err, selfErr)
}

// NewPeer is a server that somebody else has started. client is what it takes for Gatekeeper's side of a connection.
func NewPeer(url string, client *tls.Config) *Server {
	return &Server{name: "peer", url: url, client: client}
}

// start makes a directory, starts what prepare says, and waits until it is ready.
func start(ctx context.Context, name string, options Options, prepare func(dir string) (binary string, args []string, err error)) (*Server, error) {
	dir, err := os.MkdirTemp(options.Dir, "bench-"+name+"-")
	if err != nil {
		return nil, err
	}
	binary, args, err := prepare(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), os.RemoveAll(dir))
	}
	args = append(append(args, "--address=127.0.0.1:0", "--health-address=127.0.0.1:0"), options.Args...)
	began := time.Now()
	p, err := launch(dir, binary, args, options.Env)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	record, err := p.awaitListening(ctx)
	if err == nil {
		err = awaitReady(ctx, record.HealthAddress)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), p.stop())
	}
	return &Server{
		name: name, url: "https://" + record.Address + VerifyPath, health: "http://" + record.HealthAddress,
		client: options.PKI.Client(), startedIn: time.Since(began), process: p,
	}, nil
}

// awaitReady asks the readiness probe until it says yes.
func awaitReady(ctx context.Context, address string) error {
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		_, err := get(ctx, "http://"+address+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until it is ready: %w: %w", ctx.Err(), err)
		}
	}
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return body, err
}

// Name is what the server is called in results: ratify, floor, echo or peer.
func (s *Server) Name() string { return s.name }

// URL is where it is asked.
func (s *Server) URL() string { return s.url }

// Client is Gatekeeper's side of a connection to it.
func (s *Server) Client() *tls.Config { return s.client.Clone() }

// StartedIn is the time from exec to the first good answer of the readiness probe; 0 for a peer.
func (s *Server) StartedIn() time.Duration { return s.startedIn }

// CPU is the processor time used since the start, by all its threads.
func (s *Server) CPU() (time.Duration, error) {
	if s.process == nil {
		return 0, errPeer
	}
	return cpuTime(s.process.command.Process.Pid)
}

// RSS is the resident memory in bytes.
func (s *Server) RSS() (int64, error) { return s.memory("VmRSS") }

// PeakRSS is the most that RSS has been since the start.
func (s *Server) PeakRSS() (int64, error) { return s.memory("VmHWM") }

func (s *Server) memory(name string) (int64, error) {
	if s.process == nil {
		return 0, errPeer
	}
	return memory(s.process.command.Process.Pid, name)
}

// Signal sends the process a signal.
func (s *Server) Signal(signal os.Signal) error {
	if s.process == nil {
		return errPeer
	}
	return s.process.signal(signal)
}

// Stop ends the process and removes its files. A peer goes on.
func (s *Server) Stop() error {
	if s.process == nil {
		return nil
	}
	return s.process.stop()
}

// Reload rewrites ratify's configuration and waits until it says that it has taken it, which it does a quarter of a second
// after the change at the earliest. A configuration that changes nothing is an error: nothing would be said.
func (s *Server) Reload(ctx context.Context, config Config) error {
	if s.process == nil {
		return errPeer
	}
	from, err := s.process.logged()
	if err != nil {
		return err
	}
	changed, err := config.write(configDir(s.process.dir))
	if err != nil {
		return fmt.Errorf("reload %s: %w", s.name, err)
	}
	if !changed {
		return fmt.Errorf("reload %s: the configuration is the same", s.name)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	lines, err := s.process.lines(ctx, from, 1, func(line []byte) bool {
		return bytes.Contains(line, []byte(`"what":"configuration"`))
	})
	if err != nil {
		return fmt.Errorf("reload %s: %w", s.name, err)
	}
	if !bytes.Contains(lines[0], []byte(`"msg":"reloaded"`)) {
		return fmt.Errorf("reload %s: %s", s.name, lines[0])
	}
	return nil
}

// Metrics are ratify's own at this moment: each series, as name{labels}, with its value.
func (s *Server) Metrics(ctx context.Context) (map[string]float64, error) {
	if s.health == "" {
		return nil, errPeer
	}
	body, err := get(ctx, s.health+"/metrics")
	if err != nil {
		return nil, err
	}
	metrics := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %q: %w", line, err)
		}
		metrics[line[:i]] = value
	}
	return metrics, nil
}

// Body is the request for the keys, as Gatekeeper writes it.
func Body(keys ...string) []byte {
	body, _ := json.Marshal(externaldata.ProviderRequest{ // strings always have a JSON form
		APIVersion: apiVersion, Kind: externaldata.ProviderRequestKind, Request: externaldata.Request{Keys: keys},
	})
	return body
}

const apiVersion = "externaldata.gatekeeper.sh/v1beta1"

// Ask asks once, on a connection of its own, and returns the answer's bytes. It is for a look, not for a measurement.
func (s *Server) Ask(ctx context.Context, keys ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(Body(keys...)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: s.Client()}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// A Recording is what ratify answered to some keys that it knew, and the log records that it wrote of them.
type Recording struct {
	Response []byte
	Records  [][]byte // one for each distinct key
}

// Record asks ratify about distinct keys, twice, and keeps what it does the second time. Nobody else may ask meanwhile.
func (s *Server) Record(ctx context.Context, keys ...string) (*Recording, error) {
	if s.process == nil {
		return nil, errPeer
	}
	if _, err := s.Ask(ctx, keys...); err != nil {
		return nil, err
	}
	from, err := s.process.logged()
	if err != nil {
		return nil, err
	}
	response, err := s.Ask(ctx, keys...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	records, err := s.process.lines(ctx, from, len(keys), func(line []byte) bool { return bytes.Contains(line, []byte(`"msg":"verify"`)) })
	if err != nil {
		return nil, fmt.Errorf("record the log of %s: %w", s.name, err)
	}
	return &Recording{Response: response, Records: records}, nil
}
