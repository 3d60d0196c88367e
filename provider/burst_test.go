package provider

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
)

// SomeHang is a paced registry of which some images hang.
type someHang struct{ *paced }

func (r *someHang) Open(ctx context.Context, s ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	subject, evidence, err := r.paced.Open(ctx, s)
	if strings.HasSuffix(s.Repository, "/hang") {
		return hangingRepository{subject}, hangingRepository{subject}, nil
	}
	return subject, evidence, err
}

// TestOneHangs: one image that hangs in a registry does not have a burst of others turned away that would be done in its time.
func TestOneHangs(t *testing.T) {
	for _, stuck := range []int{0, 1, 2, 4} {
		t.Run(fmt.Sprint(stuck), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &someHang{&paced{delay: 50 * time.Millisecond, verified: map[string]int{}, result: passes}}
				engine, err := ratify.NewEngine(ratify.Setup{
					Stores:    []ratify.NamedStore{{Name: "hangs", Scopes: []string{"*"}, Store: r}},
					Verifiers: []ratify.NamedVerifier{{Name: "fake", Type: "fake", Verifier: r.paced}},
					Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"fake"}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				p := New(Options{VerifyTimeout: 1800 * time.Millisecond, MutateTimeout: 900 * time.Millisecond, Log: zap.NewNop(), Metrics: NewMetrics()})
				p.Install(engine, settings(t, "concurrency: 32"))
				t.Cleanup(func() { p.current.Load().cancel() })
				c := newCrowd(t, p)
				c.ask(20, func(i int) string { return atDigest("app", fmt.Sprint("warm", i)) })
				h := newCrowd(t, p)
				if stuck > 0 {
					h.ask(stuck, func(i int) string { return "reg.example/hang@" + strings.Split(atDigest("x", fmt.Sprint(i)), "@")[1] })
				}
				h.all.Wait()
				time.Sleep(50 * time.Second)
				keys := []string{}
				for i := range 60 {
					keys = append(keys, atDigest("app", fmt.Sprint("burst", i)))
				}
				codes := map[ratify.Code]int{}
				ctx, cancel := context.WithTimeout(t.Context(), 1800*time.Millisecond)
				defer cancel()
				began := time.Now()
				for _, a := range p.answer(ctx, p.verify, keys) {
					if a.problem != nil {
						codes[a.problem.Code]++
					} else {
						codes[a.verdict.report.Code]++
					}
				}
				t.Log(codes, time.Since(began))
				if codes[ratify.Verified] != 60 {
					t.Errorf("%v", codes)
				}
			})
		})
	}
}
