package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ratify-provider/ratify"
)

const (
	// callsAtOnce is how many kubectl run at the same time: each is a process of 50 MB that mostly waits.
	callsAtOnce = 4
	// drainTimeout is how long the output of kubectl is read on after its end, for what its plugins have not closed.
	drainTimeout = 2 * time.Second
	// DefaultNamespace is where Gatekeeper and ratify are where nothing says otherwise.
	DefaultNamespace = "gatekeeper-system"
	gatekeeperSecret = "gatekeeper-webhook-server-cert" //nolint:gosec // the name of a Secret
)

// A Kubectl is the user's own command, with their identity, plugins and environment.
type Kubectl struct {
	// Path is the program; Flags are what is given to each call, such as --context=NAME.
	Path  string
	Flags []string
}

// Errors of calls that are answers.
var (
	errAbsent = errors.New("it is not there")
)

// A forbiddenError is a right that the user has not.
type forbiddenError struct{ right string }

func (e *forbiddenError) Error() string { return e.right }

// Run runs kubectl and returns what it writes, of MaxBytes at most. What it says of a failure is in the error.
func (k Kubectl) Run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.Path, append(slices.Clone(k.Flags), args...)...) //nolint:gosec // it is the user's own
	out, said := &bounded{full: cancel}, &bounded{full: cancel}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, drainTimeout
	err := cmd.Run()
	switch {
	case out.over || said.over:
		return nil, fmt.Errorf("kubectl %s wrote more than %d bytes", args[0], MaxBytes)
	case err == nil:
		return out.kept.Bytes(), nil
	case context.Cause(ctx) != nil:
		return nil, fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), context.Cause(ctx))
	default:
		return out.kept.Bytes(), k.failure(args, said.kept.String(), err)
	}
}

// failure tells answers from failures, by the words that kubectl has for them.
func (k Kubectl) failure(args []string, said string, err error) error {
	said = strings.TrimSpace(said)
	switch {
	case strings.Contains(said, "(NotFound)"), strings.Contains(said, "doesn't have a resource type"):
		return errAbsent
	case strings.Contains(said, "(Forbidden)"):
		right := "a right is missing: " + ratify.Quote(said)
		if m := regexp.MustCompile(`cannot (\S+ resource "[^"]+"(?: in API group "[^"]*")?(?: in the namespace "[^"]+"| at the cluster scope)?)`).FindStringSubmatch(said); m != nil {
			right = "you cannot " + m[1]
		}
		return &forbiddenError{ratify.Truncate(right)}
	case said == "":
		return fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	default:
		return fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), ratify.Quote(said))
	}
}

// bounded keeps what fits, and tells when it does not. The buffer is no part of its face, for its ReadFrom knows no bound.
type bounded struct {
	kept bytes.Buffer
	over bool
	full func()
}

// Write keeps the data, or fails, at which the pipe is closed.
func (b *bounded) Write(data []byte) (int, error) {
	if b.kept.Len()+len(data) > MaxBytes {
		b.over = true
		b.full()
		return 0, errors.New("too much output")
	}
	return b.kept.Write(data)
}

// A wanted is what one call of kubectl reads.
type wanted struct {
	kind, namespace, name string
	// key is the one key of a Secret that is asked for; its others stay where they are.
	key string
}

// FromCluster reads an installation with the user's kubectl. In an empty namespace ratify is looked for where the Provider's
// URL leads. What the user may not read is not looked at; an error is a cluster that does not answer.
func FromCluster(ctx context.Context, k Kubectl, namespace string) (*Snapshot, error) {
	s := &Snapshot{unread: map[string]*Unread{}, namespace: namespace, complete: true}
	s.otherwise = func(kind, namespace, name string) *Unread {
		return &Unread{Reason: "there is no " + ref(kind, namespace, name), Wanted: true}
	}
	var whole []wanted
	for _, kind := range []string{kindValidating, kindMutating, kindProvider, kindTemplate, kindConstraint, kindAssign, kindNamespace} {
		whole = append(whole, wanted{kind: kind})
	}
	if err := s.read(ctx, k, whole); err != nil {
		return nil, err
	}
	s.settle(DefaultNamespace)
	gatekeeper := s.gatekeeperNamespace()
	inside := []wanted{
		{kind: kindConfig, namespace: gatekeeper},
		{kind: kindDeployment, namespace: s.namespace}, {kind: kindService, namespace: s.namespace}, {kind: kindBudget, namespace: s.namespace}, {kind: kindNetwork, namespace: s.namespace},
		{kind: kindSecret, namespace: gatekeeper, name: gatekeeperSecret, key: "ca.crt"},
	}
	if gatekeeper != s.namespace {
		inside = append(inside, wanted{kind: kindDeployment, namespace: gatekeeper})
	}
	if err := s.read(ctx, k, inside); err != nil {
		return nil, err
	}
	return s, s.read(ctx, k, s.mounted())
}

// read makes several calls at the same time.
func (s *Snapshot) read(ctx context.Context, k Kubectl, list []wanted) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callsAtOnce)
	answers := make([][]byte, len(list))
	failures := make([]error, len(list))
	for i, w := range list {
		group.Go(func() error {
			answers[i], failures[i] = k.Run(ctx, w.arguments()...)
			var forbidden *forbiddenError
			if errors.Is(failures[i], errAbsent) || errors.As(failures[i], &forbidden) {
				return nil
			}
			return failures[i]
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, w := range list {
		if err := s.keep(w, answers[i], failures[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w wanted) arguments() []string {
	args := []string{"get", strings.ToLower(w.kind)}
	if group := groups()[w.kind]; group != "" {
		args[1] += "." + group
	}
	if w.name != "" {
		args[1] += "/" + w.name
	}
	if w.namespace != "" {
		args = append(args, "--namespace="+w.namespace)
	}
	if w.key != "" {
		return append(args, `--output=jsonpath={.data.`+strings.ReplaceAll(w.key, ".", `\.`)+`}`)
	}
	return append(args, "--output=json")
}

// keep takes in one answer.
func (s *Snapshot) keep(w wanted, answer []byte, failure error) error {
	var forbidden *forbiddenError
	switch {
	case errors.As(failure, &forbidden):
		place := w.kind
		if w.name != "" {
			place = ref(w.kind, w.namespace, w.name)
		}
		s.unread[place] = &Unread{Reason: forbidden.right, Remedy: "ask for the right: kubectl auth can-i " + w.right(), Wanted: true}
		return nil
	case failure != nil:
		return nil // it is not there
	case w.key == "":
		return s.take(answer, 0)
	}
	// Of a Secret only one key has left kubectl: it is an object with that key alone.
	data, err := json.Marshal(map[string]any{"data": map[string]string{w.key: string(answer)}})
	if err != nil {
		return fmt.Errorf("keep %s: %w", ref(w.kind, w.namespace, w.name), err)
	}
	s.objects = append(s.objects, object{w.kind, w.namespace, w.name, data, true})
	return nil
}

// right is what kubectl auth can-i calls what a call needs.
func (w wanted) right() string {
	verb, what, where := "list", strings.ToLower(w.kind)+"s", ""
	if group := groups()[w.kind]; group != "" {
		what += "." + group
	}
	if w.kind == kindNetwork {
		what = "networkpolicies." + groups()[w.kind]
	}
	if w.kind == kindConstraint || w.kind == kindAssign {
		what = strings.ToLower(w.kind) + "." + groups()[w.kind]
	}
	if w.name != "" {
		verb, what = "get", what+"/"+w.name
	}
	if w.namespace != "" {
		where = " --namespace=" + w.namespace
	}
	return verb + " " + what + where
}
