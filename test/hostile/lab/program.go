package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// ProgramOptions say how the program is started.
type ProgramOptions struct {
	// Binary is the command.
	Binary string
	// Config is the configuration's file: see Configure.
	Config string
	// Args are further flags of ratify serve; of a flag that is there twice the last one counts. The log is at its most
	// talkative unless they say otherwise.
	Args []string
	// Env is added to the environment.
	Env []string
}

// A Program is the provider as a process. Its methods are safe for concurrent use.
type Program struct {
	*program.Provider

	name    string
	logFile string
	client  *http.Client

	mu      sync.Mutex
	said    []byte // its answers
	metrics []byte // the last pages
	stopped bool
}

// maxAnswerBytes is above what an answer can have: 64 reports of 64 KiB.
const maxAnswerBytes = 8 << 20

// Start starts the program, which is stopped by Close of the lab if not before. ctx bounds the start alone.
func (l *Lab) Start(ctx context.Context, o ProgramOptions) (*Program, error) {
	tlsConfig, err := l.PKI.ClientTLS()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	name := fmt.Sprintf("program %d", len(l.programs)+1)
	p := &Program{name: name, logFile: filepath.Join(l.Dir, fmt.Sprintf("log-%d.jsonl", len(l.programs)+1))}
	l.programs = append(l.programs, p)
	l.mu.Unlock()
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: 64, DialContext: l.dial}}
	args := append([]string{
		"--config", o.Config, "--cert-dir", l.PKI.CertDir, "--client-ca", l.PKI.ClientCAFile, "--client-name", fixture.GatekeeperName,
		"--log-level", "debug",
	}, o.Args...)
	if p.Provider, err = program.Serve(ctx, program.ServeOptions{Binary: o.Binary, Args: args, Env: o.Env, LogFile: p.logFile}); err != nil {
		p.mu.Lock()
		p.stopped = true
		p.mu.Unlock()
		return nil, err
	}
	return p, nil
}

// Stop ends the program, after its last page of metrics was read. It may be called twice.
func (p *Program) Stop() error {
	p.mu.Lock()
	stopped := p.stopped
	p.stopped = true
	p.mu.Unlock()
	if stopped {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = p.Metrics(ctx) // one that has ended has no page
	p.client.CloseIdleConnections()
	return p.Provider.Stop()
}

// places are where secrets are looked for.
func (p *Program) places() []searched {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.ReadFile(p.logFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log = []byte(err.Error())
	}
	return []searched{{"log of " + p.name, "", log, false}, {"answers of " + p.name, "", bytes.Clone(p.said), false}, {"metrics of " + p.name, "", p.metrics, true}}
}

// Metrics reads the page of metrics.
func (p *Program) Metrics(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.HealthAddress+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.metrics = page
	return string(page), err
}

// An Outcome is what an answer says of one key.
type Outcome string

// The three outcomes. None is no answer that Gatekeeper would understand.
const (
	Verified Outcome = "verified"
	Refused  Outcome = "refused"
	Unknown  Outcome = "could not tell"
	None     Outcome = "no answer"
)

// A Verdict is what was answered to one key.
type Verdict struct {
	Outcome Outcome
	// Code is the report's; of what could not be told the first one that the systemError names.
	Code string
	// Message and Remedy are the report's, or the systemError, or the item's error.
	Message, Remedy string
	// Value is the item's value: a report, or an image.
	Value json.RawMessage
}

func (v Verdict) String() string { return string(v.Outcome) + " " + v.Code }

// A Reply is one answer of the program.
type Reply struct {
	Status int
	// Body is what came, as it came.
	Body []byte
	// Took is the time from the request to the last byte of the answer.
	Took time.Duration
	// SystemError is empty where there are items.
	SystemError string
	// Items are in the order of the answer.
	Items []Item
}

// An Item is one of an answer.
type Item struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

// Verify asks about keys, as Gatekeeper does.
func (p *Program) Verify(ctx context.Context, keys ...string) (Reply, error) {
	return p.Ask(ctx, program.VerifyPath, keys...)
}

// Mutate asks for digests, as Gatekeeper does.
func (p *Program) Mutate(ctx context.Context, keys ...string) (Reply, error) {
	return p.Ask(ctx, program.MutatePath, keys...)
}

// Ask sends a ProviderRequest. An error is that there was no answer of the protocol.
func (p *Program) Ask(ctx context.Context, path string, keys ...string) (Reply, error) {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest", "request": map[string]any{"keys": keys},
	})
	if err != nil {
		return Reply{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL(path), bytes.NewReader(body))
	if err != nil {
		return Reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	begin := time.Now()
	resp, err := p.client.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	reply := Reply{Status: resp.StatusCode, Body: data, Took: time.Since(begin)}
	p.mu.Lock()
	p.said = append(p.said, data...)
	p.mu.Unlock()
	if err != nil {
		return reply, fmt.Errorf("read the answer: %w", err)
	}
	return reply, reply.decode()
}

func (r *Reply) decode() error {
	var response struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Response   struct {
			Idempotent  bool   `json:"idempotent"`
			Items       []Item `json:"items"`
			SystemError string `json:"systemError"`
		} `json:"response"`
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&response); err != nil {
		return fmt.Errorf("the answer is not the protocol's: %w", err)
	}
	if response.Kind != "ProviderResponse" || response.APIVersion != "externaldata.gatekeeper.sh/v1beta1" {
		return fmt.Errorf("the answer is a %q of %q", response.Kind, response.APIVersion)
	}
	r.Items, r.SystemError = response.Response.Items, response.Response.SystemError
	if r.SystemError != "" && len(r.Items) > 0 {
		return fmt.Errorf("the answer has a systemError and %d items", len(r.Items))
	}
	return nil
}

// Of is what was answered to a key of a verification, or of a mutation: there what has a digest is Verified.
func (r Reply) Of(key string) Verdict {
	if r.SystemError != "" {
		return Verdict{Outcome: Unknown, Code: firstCode(r.SystemError), Message: r.SystemError}
	}
	for _, item := range r.Items {
		if item.Key == key {
			return item.verdict()
		}
	}
	return Verdict{Outcome: None}
}

func (i Item) verdict() Verdict {
	if i.Error != "" {
		return Verdict{Outcome: Refused, Code: firstCode(i.Error), Message: i.Error, Value: i.Value}
	}
	var report struct {
		IsSuccess bool   `json:"isSuccess"`
		Code      string `json:"code"`
		Message   string `json:"message"`
		Remedy    string `json:"remedy"`
	}
	var image string
	if json.Unmarshal(i.Value, &image) == nil {
		// A mutation's value is an image; a report may be written as a text, too.
		if json.Unmarshal([]byte(image), &report) != nil {
			return Verdict{Outcome: Verified, Value: i.Value}
		}
	} else if err := json.Unmarshal(i.Value, &report); err != nil {
		return Verdict{Outcome: None, Message: err.Error(), Value: i.Value}
	}
	outcome := Refused
	if report.IsSuccess {
		outcome = Verified
	}
	return Verdict{Outcome: outcome, Code: report.Code, Message: report.Message, Remedy: report.Remedy, Value: i.Value}
}

// firstCode finds the first code that a text names, "" if it names none.
func firstCode(text string) string {
	return regexp.MustCompile(`\b([A-Z]{2,}(_[A-Z]+)+|DEADLINE|INTERNAL|OVERLOADED)\b`).FindString(text)
}

// commandTimeout bounds a command that ends by itself.
const commandTimeout = 30 * time.Second

// Command runs the command with arguments other than serve, and keeps what it says for the search of secrets. How it ends
// is the second result; an error is that it did not run.
func (l *Lab) Command(ctx context.Context, binary string, args ...string) (output []byte, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, binary, args...)
	output, err = command.CombinedOutput()
	l.Record("ratify "+args[0], output)
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return output, exit.ExitCode(), nil
	}
	return output, 0, err
}
