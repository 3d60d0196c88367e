package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/scenario"
)

// peers are the providers of -peer: name and URL.
type peers [][2]string

func (p *peers) String() string { return fmt.Sprint([][2]string(*p)) }

// Set takes one more.
func (p *peers) Set(text string) error {
	name, url, ok := strings.Cut(text, "=")
	if !ok || name == "" || !strings.HasPrefix(url, "https://") {
		return errors.New("expected NAME=https://…")
	}
	*p = append(*p, [2]string{name, url})
	return nil
}

const (
	// peerTime is how long peers may take to be set up: by hand, if need be.
	peerTime = 10 * time.Minute
	// peerPause is between two questions whether one is ready.
	peerPause = time.Second
)

// introduce tells what a peer needs to know of this run, and waits until each admits an image of it.
func (o *options) introduce(ctx context.Context, b *scenario.Bench, words io.Writer) ([]scenario.Peer, error) {
	if len(o.peers) == 0 {
		return nil, nil
	}
	config, err := o.peerTLS()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(b.Dir, "signer.crt")
	images, err := b.Registry.Images(1, b.RSA)
	if err != nil {
		return nil, err
	}
	defer b.Registry.Forget(images)
	if err := os.WriteFile(root, b.RSA.Root(), 0o600); err != nil {
		return nil, err
	}
	fmt.Fprintf(words, "\nThe peers must read plain HTTP from the registry %s and trust signatures of Notation under the root in\n%s\nWaiting until they admit %s …\n",
		b.Registry.Host(), root, images[0].Reference)
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	var ready []scenario.Peer
	for _, peer := range o.peers {
		target := load.Target{URL: peer[1], TLS: config}
		if err := awaitPeer(ctx, target, images[0].Reference); err != nil {
			return nil, fmt.Errorf("peer %s: %w", peer[0], err)
		}
		ready = append(ready, scenario.Peer{Name: peer[0], Target: target})
	}
	return ready, nil
}

func (o *options) peerTLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.peerCA != "" {
		data, err := os.ReadFile(o.peerCA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s holds no certificate", o.peerCA)
		}
	}
	if o.peerCert != "" || o.peerKey != "" {
		pair, err := tls.LoadX509KeyPair(o.peerCert, o.peerKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate for the peers: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// awaitPeer asks about an image until it is admitted.
func awaitPeer(ctx context.Context, target load.Target, key string) error {
	plan := load.Plan{Requests: []load.Request{load.NewRequest(key)}}
	for {
		result, err := load.Run(ctx, target, plan)
		if err = errors.Join(err, result.Err()); err == nil {
			return nil
		}
		select {
		case <-time.After(peerPause):
		case <-ctx.Done():
			return fmt.Errorf("it never admitted the image: %w", err)
		}
	}
}
