package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
)

// timeoutsNamespace is where pods come in that would not with the recommended settings.
const timeoutsNamespace = "timeouts"

// An ending is what the API server did with a pod, by whose word.
type ending string

const (
	created ending = "created"
	// deniedByVerdict is the template's denial by the provider's answer, which names the image.
	deniedByVerdict ending = "denied by ratify's answer, which names the image"
	// deniedWithout is the template's denial without an answer.
	deniedWithout ending = "denied by the template: no answer"
	// deniedByServer is the API server's own, which names neither image nor reason.
	deniedByServer ending = "denied by the API server: the webhook did not answer"
)

// A trial is one way in which the provider answers late or badly, or does not, under one chain of timeouts.
type trial struct {
	provider string
	// webhook and timeout are those of the validating webhook and of the Provider, in seconds.
	webhook, timeout int
	// begin makes the provider so, until the returned function is called.
	begin func(*testing.T, *chain) (end func())
	// signed and unsigned are what must become of pods with failurePolicy Fail, and ignored of an unsigned one with Ignore. "" is
	// what depends on who is faster, and an unsigned pod must not be created all the same with Fail.
	signed, unsigned, ignored ending
}

func trials() []trial {
	paused := func(t *testing.T, c *chain) func() { return c.provider.pause(t) }
	none := func(*testing.T, *chain) func() { return func() {} }
	return []trial{
		{"fast, as recommended", 5, 4, none, created, deniedByVerdict, deniedByVerdict},
		{"fast, the registry silent, as recommended", 5, 4, registrySilent, deniedByVerdict, deniedByVerdict, deniedByVerdict},
		{"stuck, Provider < webhook", 2, 1, paused, deniedWithout, deniedWithout, deniedWithout},
		{"stuck, Provider = webhook", 2, 2, paused, "", "", ""},
		{"stuck, Provider > webhook", 2, 3, paused, deniedByServer, deniedByServer, created},
		{"away", 2, 1, providerAway, deniedWithout, deniedWithout, deniedWithout},
		{"answers garbage", 2, 1, providerGarbage, deniedWithout, deniedWithout, deniedWithout},
	}
}

// registrySilent has the registry take requests and give no answer.
func registrySilent(_ *testing.T, c *chain) func() {
	release := make(chan struct{})
	restore := c.images.disturb(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	return sync.OnceFunc(func() { close(release); restore() })
}

// providerAway ends the provider as a node does that goes down.
func providerAway(t *testing.T, c *chain) func() {
	_ = c.provider.process.Stop(0)
	return func() { c.running(t) }
}

func providerGarbage(t *testing.T, c *chain) func() {
	_ = c.provider.process.Stop(0)
	stop := c.impersonate(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>it works</html>") })
	return func() { stop(); c.running(t) }
}

// timeouts shows what becomes of pods when the provider is late, bad or away: under both failure policies, with signed and
// unsigned images, and with the Provider's timeout below, at and above the webhook's.
func timeouts(t *testing.T, c *chain) {
	c.provider.mustRun(t)
	kubectl(t, c.Cluster, "create", "namespace", timeoutsNamespace)
	kubectl(t, c.Cluster, "wait", "--for=create", "serviceaccount/default", "--namespace="+timeoutsNamespace, "--timeout=60s")
	mendWebhook, mendProvider := c.remember(t, validatingWebhook), c.remember(t, theProvider)
	defer func() {
		mendProvider()
		mendWebhook()
		kubectl(t, c.Cluster, "delete", "namespace", timeoutsNamespace, "--wait=false")
	}()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "the provider\twebhook\tProvider\tfailurePolicy\tsigned image\t\tunsigned image\t")
	for _, trial := range trials() {
		c.patch(t, theProvider, "merge", fmt.Sprintf(`{"spec":{"timeout":%d}}`, trial.timeout))
		for _, policy := range []string{"Fail", "Ignore"} {
			t.Run(trial.provider+", "+policy, func(t *testing.T) {
				c.setWebhook(t, trial.webhook, policy)
				signed, unsigned := c.tryAgain(t, trial, policy)
				fmt.Fprintf(w, "%s\t%d s\t%d s\t%s\t%s\t%.1f s\t%s\t%.1f s\n", trial.provider, trial.webhook, trial.timeout, policy,
					signed.ending, signed.took.Seconds(), unsigned.ending, unsigned.took.Seconds())
				if why := trial.differs(policy, signed, unsigned); why != "" {
					t.Error(why)
				}
				if policy == "Ignore" && unsigned.ending == created {
					c.doctorWarned(t)
				}
			})
		}
	}
	_ = w.Flush()
	t.Logf("what becomes of pods:\n%s", table.String())
}

// tries is how often a trial is made until it is as it must be. Gatekeeper takes up a webhook configuration that has changed under a
// lock that waits for the reviews under way, and that all others wait for: two that are begun meanwhile take twice the time of
// one. And a machine that runs all of this on two cores loses a second now and then.
const tries = 3

func (c *chain) tryAgain(t *testing.T, tr trial, policy string) (signed, unsigned outcome) {
	t.Helper()
	for n := 1; ; n++ {
		signed, unsigned = c.try(t, tr)
		why := tr.differs(policy, signed, unsigned)
		if why == "" || n == tries || policy == "Fail" && unsigned.ending == created {
			return signed, unsigned
		}
		t.Logf("try %d: %s", n, why)
	}
}

// differs says what is not as it must be.
func (tr trial) differs(policy string, signed, unsigned outcome) string {
	wantSigned, wantUnsigned := tr.signed, tr.unsigned
	if policy == "Ignore" {
		wantUnsigned = tr.ignored
	}
	if policy == "Ignore" && tr.ignored == created {
		wantSigned = created
	}
	switch {
	case policy == "Fail" && unsigned.ending == created:
		return "failurePolicy Fail, and the unsigned image came in"
	case wantSigned != "" && signed.ending != wantSigned:
		return fmt.Sprintf("the signed image: %s, want %s\n%s", signed.ending, wantSigned, signed.says)
	case wantUnsigned != "" && unsigned.ending != wantUnsigned:
		return fmt.Sprintf("the unsigned image: %s, want %s\n%s", unsigned.ending, wantUnsigned, unsigned.says)
	default:
		return ""
	}
}

// doctorWarned: of the settings that let an unsigned image in, ratify doctor says so.
func (c *chain) doctorWarned(t *testing.T) {
	t.Helper()
	found := c.doctor(t, c.Program("kubectl")).found()
	for _, want := range []string{"webhook-failure-policy", "webhook-timeout"} {
		if !slices.Contains(found, want) {
			t.Errorf("an unsigned image came in, and ratify doctor finds %v, not %s", found, want)
		}
	}
}

// An outcome is what became of one pod, and after which time.
type outcome struct {
	ending ending
	took   time.Duration
	says   string
}

// try creates a pod with a signed and one with an unsigned image, of which no cache knows, at the same time.
func (c *chain) try(t *testing.T, tr trial) (signed, unsigned outcome) {
	t.Helper()
	good, bad := c.images.fresh(t), c.images.push(t)
	end := tr.begin(t, c)
	defer end()
	var wg sync.WaitGroup
	for image, o := range map[*fixture.Image]*outcome{&good: &signed, &bad: &unsigned} {
		wg.Go(func() { *o = c.create(t, image.Reference) })
	}
	wg.Wait()
	return signed, unsigned
}

// create asks for a pod and says what became of it; what was denied must not be there.
func (c *chain) create(t *testing.T, image string) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	_, path, _ := strings.Cut(image, "/")
	name, _, _ := strings.Cut(path, ":")
	start := time.Now()
	_, err := c.Kubectl(ctx, "run", name, "--image="+image, "--namespace="+timeoutsNamespace)
	o := outcome{took: time.Since(start)}
	var failure *cluster.CommandError
	switch {
	case err == nil:
		o.ending = created
		return o
	case !errors.As(err, &failure):
		t.Error(err)
		return o
	}
	o.says = failure.Stderr
	switch {
	case strings.HasPrefix(o.says, forbidden+"[ratify-constraint] ") && strings.Contains(o.says, image):
		o.ending = deniedByVerdict
	case strings.HasPrefix(o.says, forbidden+couldNot):
		o.ending = deniedWithout
	case strings.Contains(o.says, `failed calling webhook "validation.gatekeeper.sh"`):
		o.ending = deniedByServer
	default:
		t.Errorf("kubectl says %s", o.says)
	}
	if _, err := c.Kubectl(ctx, "get", "pod/"+name, "--namespace="+timeoutsNamespace); err == nil {
		t.Errorf("pod %s was denied, and is there", name)
	}
	return o
}

// probeHook is a webhook that nobody serves, for one object alone: once that is refused, the API server has taken up the
// configuration that the webhook is in, and the others of it.
const probeHook = `{"name":"taken-up-%[1]d.example.test","admissionReviewVersions":["v1"],"sideEffects":"None","failurePolicy":"Fail","timeoutSeconds":1,` +
	`"clientConfig":{"url":"https://127.0.0.1:1/"},"rules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["configmaps"]}],` +
	`"objectSelector":{"matchLabels":{"taken-up":"%[1]d"}}}`

// setWebhook sets timeout and failure policy of Gatekeeper's validating webhook, and waits until they are in force.
func (c *chain) setWebhook(t *testing.T, timeout int, policy string) {
	t.Helper()
	n := time.Now().UnixNano()
	var configuration struct{ Webhooks []struct{ Name string } }
	decode(t, kubectl(t, c.Cluster, "get", validatingWebhook, "--output=json"), &configuration)
	operation, place := "add", "-"
	if last := len(configuration.Webhooks) - 1; strings.HasPrefix(configuration.Webhooks[last].Name, "taken-up-") {
		operation, place = "replace", fmt.Sprint(last)
	}
	c.patch(t, validatingWebhook, "json", fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":%d},`+
		`{"op":"replace","path":"/webhooks/0/failurePolicy","value":%q},{"op":%q,"path":"/webhooks/%s","value":%s}]`,
		timeout, policy, operation, place, fmt.Sprintf(probeHook, n)))
	probe := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"taken-up","namespace":"default","labels":{"taken-up":"%d"}}}`, n)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := cluster.Until(ctx, func(ctx context.Context) error {
		_, err := c.Apply(ctx, []byte(probe), "--dry-run=server")
		if err != nil && strings.Contains(err.Error(), fmt.Sprintf("taken-up-%d.example.test", n)) {
			return nil
		}
		return errors.Join(errors.New("the webhook's settings are not in force"), err)
	})
	if err != nil {
		t.Fatal(err)
	}
}
