package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
)

func TestList(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"requests", "cold", "warm", "memory"} {
		if !strings.Contains(out.String(), "  "+name+" ") {
			t.Errorf("no %s in\n%s", name, &out)
		}
	}
}

// Two builds are compared where each can stand beside the other.
func TestListAgainstAnotherBuild(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-list", "-against", "old=/bin/old"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "cold") || strings.Contains(out.String(), "limit") {
		t.Errorf("got\n%s", &out)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"-run nothing", "names no scenario; -list"},
		{"-run (", "-run: error parsing regexp"},
		{"-against old", "is not NAME=PATH"},
		{"-against old=x -run limit", "that compares two builds: cold, cpu, warm and start"},
		{"-peer x=http://host", "expected NAME=https://"},
		{"-peer https://host", "expected NAME=https://"},
		{"-wat", "not defined"},
		{"cold", `unexpected argument "cold"`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			err := run(t.Context(), strings.Fields(tc.args), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestDeliver(t *testing.T) {
	met := report.Row{Topic: "cold", Name: "met", Figure: report.Sample{1}, Target: report.Below(1)}
	missed := report.Row{Topic: "cold", Name: "missed", Figure: report.Sample{2}, Target: report.Below(1)}
	wrong := report.Row{Topic: "cold", Name: "off", Figure: report.Sample{5}, Target: report.Count(4)}
	for _, tc := range []struct {
		name   string
		rows   []report.Row
		strict bool
		want   string
	}{
		{"all met", []report.Row{met}, true, ""},
		{"a miss is told", []report.Row{met, missed}, false, ""},
		{"a miss fails if asked for", []report.Row{met, missed}, true, "1 targets were missed"},
		{"a count that is off fails", []report.Row{met, missed, wrong}, false, "1 rows are wrong"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "results.json")
			var out bytes.Buffer
			err := (&options{strict: tc.strict, json: file}).deliver(report.Report{Rows: tc.rows}, &out)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var read report.Report
			if err := json.Unmarshal(data, &read); err != nil || len(read.Rows) != len(tc.rows) {
				t.Errorf("%v, %d rows in JSON", err, len(read.Rows))
			}
			if !strings.Contains(out.String(), "met") {
				t.Errorf("nothing was printed: %s", &out)
			}
		})
	}
}

func TestAwaitPeer(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			_, _ = io.WriteString(w, `{"response":{"systemError":"not yet"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"response":{"items":[{"key":"a","value":{"isSuccess":true}}]}}`)
	}))
	defer server.Close()
	target := load.Target{URL: server.URL, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig}
	if err := awaitPeer(t.Context(), target, "a"); err != nil || asked.Load() != 2 {
		t.Errorf("%v after %d questions, want none after 2", err, asked.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := awaitPeer(ctx, target, "another"); err == nil || !strings.Contains(err.Error(), "never admitted") {
		t.Errorf("got %v", err)
	}
}

func TestPeerTLS(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    options
		want string
	}{
		{"no CA there", options{peerCA: "missing.pem"}, "no such file"},
		{"an empty CA", options{peerCA: empty}, "holds no certificate"},
		{"half a pair", options{peerCert: empty}, "client certificate for the peers"},
	} {
		if _, err := tc.o.peerTLS(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}
