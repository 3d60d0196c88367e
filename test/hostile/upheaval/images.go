package upheaval

import (
	"context"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"golang.org/x/sync/errgroup"
)

// Images are all that is asked about.
type images struct {
	known []question // by digest, by tag, and what nobody trusted signed
	slow  []question // of repositories whose referrers take slowTime
	fresh []question // each is asked about once

	used atomic.Int64 // of the fresh ones
}

// slowName begins the names of repositories whose referrers take slowTime.
const slowName = "slow-"

// eachKind is how many images there are of each kind of signatures.
const eachKind = 8

// fill starts the registry and fills it.
func (w *world) fill(ctx context.Context) error {
	signers := map[trust]*notationtest.Signer{0: w.lab.Stranger}
	w.signers = map[trust][]byte{}
	for _, one := range []trust{first, second} {
		signer, root, err := newSigner(fmt.Sprintf("signer %d", one))
		if err != nil {
			return err
		}
		signers[one], w.signers[one] = signer, root
	}
	registry := &lab.Registry{Login: &lab.Login{Accept: w.accepts}}
	var err error
	if w.host, err = w.lab.Host(lab.HostOptions{Name: "registry", Plain: true, Server: registry, Script: slowly}); err != nil {
		return err
	}
	put := func(name string, by ...trust) (question, error) {
		q := question{}
		var all []*notationtest.Signer
		for _, one := range by {
			all, q.signers = append(all, signers[one]), q.signers|one
		}
		image, err := registry.PutSigned(ctx, name, all...)
		q.key = image.PinnedAt(w.host.Addr)
		return q, err
	}
	return w.images.make(put, choose(w.env, 4000, 300))
}

// make puts the images into the registry.
func (i *images) make(put func(name string, by ...trust) (question, error), fresh int) error {
	for n := range eachKind {
		for kind, by := range [][]trust{{first}, {second}, {first, second}, {0}, {}} {
			q, err := put(fmt.Sprintf("known-%d-%d", kind, n), by...)
			if err != nil {
				return err
			}
			repository, _, _ := strings.Cut(q.key, "@")
			i.known = append(i.known, q, question{repository + ":v1", q.signers})
		}
		for kind, by := range [][]trust{{first}, {second}} {
			q, err := put(fmt.Sprintf("%s%d-%d", slowName, kind, n), by...)
			if err != nil {
				return err
			}
			i.slow = append(i.slow, q)
		}
	}
	i.fresh = make([]question, fresh)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for n := range i.fresh {
		group.Go(func() (err error) {
			i.fresh[n], err = put(fmt.Sprintf("fresh-%d", n), trust(1+n%3)&first, trust(1+n%3)&second)
			return err
		})
	}
	return group.Wait()
}

// unseen is an image that nobody has asked about; when there are no more, the one that was asked about longest ago.
func (i *images) unseen() question { return i.fresh[int(i.used.Add(1)-1)%len(i.fresh)] }

// question is the n-th request: three quarters are known, a sixth is new, a twentieth slow, and some have several keys.
func (i *images) question(n int) []question {
	// A round takes another part of the images than the one before, for which of the requests are of which kind repeats.
	known := func(n int) question { return i.known[(n*7+n/len(i.known))%len(i.known)] }
	switch n % 20 {
	case 0, 7, 14:
		return []question{i.unseen()}
	case 4:
		return []question{i.slow[n/20%len(i.slow)]}
	case 10, 17:
		return []question{known(n), i.unseen(), known(n + 1)}
	}
	return []question{known(n)}
}

// slowly answers as a registry does that has trouble with the lists of some repositories.
func slowly(x *lab.Exchange) {
	if x.Step == lab.Referrers && strings.Contains(x.Path, "/"+slowName) {
		x.Late(x.Correct(), slowTime)
		return
	}
	x.Send(x.Correct())
}

// basic is the header that a password makes.
func basic(password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(userName+":"+password))
}
