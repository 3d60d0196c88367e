// Package evidence verifies every kind of evidence in every form in which it is stored, good and bad, with the command as
// it is shipped: its provider, asked over HTTPS as Gatekeeper asks. Begin at TestTable.
package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

// binaryPath is the command that all tests share; nothing changes it once they run.
var binaryPath string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ratify-evidence-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if isolated() {
		if err := settle(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitNotIsolated
		}
	}
	if binaryPath, err = program.Build(context.Background(), dir, program.BuildOptions{Flags: programtest.BuildFlags()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// coverageFlags have a run of this program count where this one does.
func coverageFlags() []string {
	if dir := flag.Lookup("test.gocoverdir"); dir != nil && dir.Value.String() != "" {
		return []string{"-test.gocoverdir=" + dir.Value.String()}
	}
	return nil
}

const (
	// maxKeys is how many images one request may name.
	maxKeys = 64
	// verifyTimeout is how long the provider may take for one request: many times what it takes.
	verifyTimeout = 25 * time.Second
)

// A verdict is what is looked at of a report.
type verdict struct {
	IsSuccess bool        `json:"isSuccess"`
	Code      ratify.Code `json:"code"`
	Message   string      `json:"message"`
}

// A client asks a provider as Gatekeeper does, and counts its connections.
type client struct {
	*http.Client
	url   string
	dials atomic.Int64
}

// startProvider starts the command with the configuration.
func startProvider(t *testing.T, configFile string) (*program.Provider, *client) {
	t.Helper()
	pki, err := fixture.NewPKI(filepath.Join(t.TempDir(), "pki"))
	check(t, err)
	provider := programtest.Serve(t, binaryPath, "--config", configFile, "--cert-dir", pki.CertDir, "--client-ca", pki.ClientCAFile,
		"--client-name", fixture.GatekeeperName, "--verify-timeout", verifyTimeout.String())
	config, err := pki.ClientTLS()
	check(t, err)
	c := &client{url: provider.URL(program.VerifyPath)}
	c.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c.dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}}
	t.Cleanup(c.CloseIdleConnections)
	return provider, c
}

// ask asks for images in batches.
func (c *client) ask(t *testing.T, keys []string) map[string]verdict {
	t.Helper()
	verdicts := map[string]verdict{}
	for batch := range slices.Chunk(keys, maxKeys) {
		response, err := c.post(t.Context(), batch)
		check(t, err)
		if response.SystemError != "" {
			t.Fatalf("of %d images one could not be told: %s", len(batch), response.SystemError)
		}
		for _, item := range response.Items {
			v, err := readVerdict(item)
			if err != nil {
				t.Fatalf("%s: %v", item.Key, err)
			}
			verdicts[item.Key] = v
		}
	}
	return verdicts
}

func (c *client) post(ctx context.Context, keys []string) (*externaldata.Response, error) {
	request := externaldata.ProviderRequest{APIVersion: "externaldata.gatekeeper.sh/v1beta1", Kind: externaldata.ProviderRequestKind, Request: externaldata.Request{Keys: keys}}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	posted, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	posted.Header.Set("Content-Type", "application/json")
	answer, err := c.Do(posted)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	var response externaldata.ProviderResponse
	return &response.Response, json.Unmarshal(data, &response)
}

// readVerdict reads the report that is an item's value.
func readVerdict(item externaldata.Item) (v verdict, err error) {
	if item.Error != "" {
		return v, errors.New(item.Error)
	}
	data, err := json.Marshal(item.Value)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(data, &v)
}

// TestTable crosses the kinds of evidence with the forms in which they are stored, and prints the table: in each cell how
// many cases came out as they must, of how many; and a letter for each case that there is not, and for a cell without
// any, with the reason under the table.
func TestTable(t *testing.T) {
	guard := newGuard(t)
	w := newWorld(t, guard.url())
	kinds := kinds()
	var keys []string
	for _, k := range kinds {
		w.populate(t, k)
		for _, name := range caseNames {
			for _, storage := range storages {
				if k.outcome(storage, name).code != "" {
					keys = append(keys, w.key(k, storage, name))
				}
			}
		}
	}
	config := w.configure(t, kinds)
	guard.begin(t)
	accepted := w.accepted.Load()
	provider, client := startProvider(t, config)
	verdicts := client.ask(t, keys)
	check(t, provider.Stop())
	for _, host := range []string{w.hosts[referrersAPI], w.hosts[fallbackTag]} {
		w.last(t, host)
	}
	guard.end(t, w.accepted.Load()-accepted+client.dials.Load())

	table, right := newTable(), 0
	for _, k := range kinds {
		for _, storage := range storages {
			cell := newCell(k, storage)
			for _, name := range caseNames {
				if !cell.counts(name) {
					continue
				}
				if got, want := verdicts[w.key(k, storage, name)], k.outcome(storage, name).code; got.Code == want && got.IsSuccess == (want == ratify.Verified) && tells(got, name) {
					cell.right++
					right++
				} else {
					t.Errorf("%s, %s, %s: code %s, want %s: %s", k.name, storage, name, got.Code, want, got.Message)
				}
			}
			if err := table.add(cell); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("\n%s\n%d of %d verdicts are as they must be", table, right, len(keys))
	if right != len(keys) || len(keys) == 0 || len(verdicts) != len(keys) {
		t.Errorf("%d verdicts for %d images, of which %d are right", len(verdicts), len(keys), right)
	}
}

// tells tells whether the message says what it must: what is there instead of what is asked for, or anything at all.
func tells(v verdict, name string) bool {
	if v.Code == ratify.NoSignature || v.Code == ratify.PredicateMismatch {
		return name == unrelated && (strings.Contains(v.Message, unrelatedType) || strings.Contains(v.Message, unrelatedPredicate))
	}
	return v.Message != ""
}

// last asks a registry on a new connection: when it has answered, it has taken all that came before.
func (w *world) last(t *testing.T, host string) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/", nil)
	check(t, err)
	answer, err := (&http.Client{Transport: transport}).Do(request)
	check(t, err)
	check(t, answer.Body.Close())
}

// A cell is one kind in one storage form.
type cell struct {
	kind         kind
	storage      string
	right, cases int
}

func newCell(k kind, storage string) *cell {
	c := &cell{kind: k, storage: storage}
	for _, name := range caseNames {
		if c.counts(name) {
			c.cases++
		}
	}
	return c
}

// counts tells whether there is such a case in the cell.
func (c *cell) counts(name string) bool {
	return c.kind.outcome(c.storage, name).code != ""
}

// reasons are the letters for what is not there.
func (c *cell) reasons() (letters []rune) {
	if c.kind.ways[c.storage] == nil {
		return []rune{c.kind.without}
	}
	for _, name := range caseNames {
		if o := c.kind.outcome(c.storage, name); o.code == "" {
			letters = append(letters, o.reason)
		}
	}
	return letters
}

// A table is text: a row for each kind.
type table struct {
	text   strings.Builder
	used   map[rune]bool
	column int
}

const cellFormat = "%-42s"

func newTable() *table {
	w := &table{used: map[rune]bool{}}
	fmt.Fprintf(&w.text, cellFormat, "")
	for _, storage := range storages {
		fmt.Fprintf(&w.text, "| %-14s", storage)
	}
	return w
}

// add writes the next cell. One that is empty, or lacks a case, without a reason of the legend is an error.
func (w *table) add(c *cell) error {
	if w.column%len(storages) == 0 {
		fmt.Fprintf(&w.text, "\n"+cellFormat, c.kind.name)
	}
	w.column++
	text := ""
	if c.cases > 0 {
		text = fmt.Sprintf("%d/%d ", c.right, c.cases)
	}
	for _, letter := range c.reasons() {
		if legend[letter] == "" {
			return fmt.Errorf("%s, %s: something is not there, and no reason is given", c.kind.name, c.storage)
		}
		w.used[letter] = true
		text += string(letter)
	}
	fmt.Fprintf(&w.text, "| %-14s", text)
	return nil
}

// String is the table with its legend, and the cases that a cell counts.
func (w *table) String() string {
	out := w.text.String() + "\n\n"
	for letter := 'a'; letter <= 'z'; letter++ {
		if w.used[letter] {
			out += string(letter) + ": " + legend[letter] + "\n"
		}
	}
	return out + "\ncases: " + strings.Join(caseNames, "; ") + "\n"
}
