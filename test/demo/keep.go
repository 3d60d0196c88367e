package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// keep prints command lines to try, and waits for the end.
func (d *demo) keep(ctx context.Context) error {
	fmt.Fprint(d.out, "\nEverything is still running. Lines to try, in another terminal:\n")
	for _, try := range d.tries() {
		fmt.Fprintf(d.out, "\n# %s\n%s\n", try.about, try.line)
	}
	fmt.Fprintln(d.out, "\nCtrl-C ends the demonstration and removes its files.")
	select {
	case <-ctx.Done():
		return nil
	case <-d.provider.Ended():
		return errors.Join(errors.New("the provider ended"), d.provider.Failure())
	}
}

// A try is a line for a shell.
type try struct{ about, line string }

func (d *demo) tries() []try {
	pki, images := d.fixture.PKI, d.fixture.Images
	signed, unsigned := images[fixture.Signed].Reference, images[fixture.Unsigned].Reference
	ask := func(path string, keys ...string) string {
		body := fmt.Sprintf(`{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderRequest","request":{"keys":["%s"]}}`, strings.Join(keys, `","`))
		return shell("curl", "--silent", "--show-error", "--write-out", `\n`, "--cacert", pki.ServerCAFile, "--cert", pki.ClientCertFile, "--key", pki.ClientKeyFile,
			"--header", "Content-Type: application/json", "--data", body, d.provider.URL(path))
	}
	return []try{
		{"what Gatekeeper asks: are these images verified?", ask(program.VerifyPath, signed, unsigned)},
		{"what Gatekeeper asks to pin a tag to its digest", ask(program.MutatePath, signed)},
		{"the same engine and configuration on the command line (1 of 2 is refused: exit code 1)", shell(d.binary, "verify", "--config", d.fixture.ConfigFile, signed, unsigned)},
		{"the same with a certificate instead of a configuration", shell(d.binary, "verify", "--plain-http", "--notation-cert", d.fixture.SignerFile, signed)},
		{"who signed it, with which certificates?", shell(d.binary, "inspect", "--plain-http", images[fixture.Multi].Reference)},
		{"what is attached to it?", shell(d.binary, "ls", "--plain-http", images[fixture.Multi].Reference)},
		{"the provider's metrics", shell("curl", "--silent", "--show-error", "http://"+d.provider.HealthAddress+"/metrics")},
		{"the provider's log", shell("tail", "-n", "3", d.logFile)},
	}
}

// plain are the characters that no shell takes for anything else.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,"

// shell is a command line that a POSIX shell reads as these words.
func shell(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		if quoted[i] = word; word == "" || strings.Trim(word, plain) != "" {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
