package upheaval

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/test/program"
)

// mostUnderWay bounds the requests that wait for an answer: the client gives up after its timeout, so more than that are
// never under way.
const mostUnderWay = 2 * fullRate * int(clientTimeout/time.Second)

// A question is one key and who signed its image.
type question struct {
	key     string
	signers trust
}

// An account is what was seen during one event.
type account struct {
	name                                 string
	asked, right, untold, dropped, wrong int
	// late are those that were dropped for want of time; old are verdicts of a configuration that was replaced more than the
	// grace before they came, hot those for requests that were sent after it was.
	late, old, hot int
	latencies      []time.Duration
	longestGap     time.Duration
	problems       map[string]int
}

// maxProblems bounds the sorts of problems that are told apart: what makes more has one cause.
const maxProblems = 12

func (a *account) problem(text string) {
	if _, known := a.problems[text]; !known && len(a.problems) >= maxProblems {
		text = "other problems"
	}
	a.problems[text]++
}

// drop notes a request that had no answer, or none that told.
func (a *account) drop(why string) {
	a.dropped++
	for _, lack := range []string{"DEADLINE", "OVERLOADED", "timeout", "Timeout", "deadline", "EOF"} { // EOF: a handshake has 2 s
		if strings.Contains(why, lack) {
			a.late++
			break
		}
	}
	a.problem(why)
}

// Traffic is requests at a constant rate, sent when they are due whether or not those before are answered.
type traffic struct {
	client *gatekeeper
	truth  *truth
	next   func(n int) []question
	rate   int

	mu        sync.Mutex
	accounts  []*account
	lastRight time.Time
}

// enter begins the account of an event. What was sent before is in the one before.
func (t *traffic) enter(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accounts = append(t.accounts, &account{name: name, problems: map[string]int{}})
}

func (t *traffic) current() *account {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accounts[len(t.accounts)-1]
}

// run asks until ctx ends, and waits for the last answer.
func (t *traffic) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	places := make(chan struct{}, mostUnderWay)
	began := time.Now()
	for n := 0; ; n++ {
		due := time.NewTimer(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(t.rate))))
		select {
		case <-due.C:
		case <-ctx.Done():
			due.Stop()
			return
		}
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			t.ask(t.next(n))
		})
	}
}

// ask asks once and accounts for the answer. Its time is the client's own: the end of the run ends no request.
func (t *traffic) ask(questions []question) {
	account := t.current()
	keys := make([]string, len(questions))
	for i, q := range questions {
		keys[i] = q.key
	}
	sent := time.Now()
	from, body, err := t.client.ask(context.Background(), keys)
	received := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	account.asked++
	if err != nil {
		account.drop(err.Error())
		return
	}
	t.judge(account, from, sent, received, questions, body)
}

// judge takes an answer into the account. It is called under mu.
func (t *traffic) judge(a *account, from string, sent, received time.Time, questions []question, body []byte) {
	verdicts, untold, err := decode(questions, body)
	switch {
	case err != nil:
		a.wrong++
		a.problem(err.Error())
		return
	case untold != "":
		if t.truth.untoldIsRight(sent, received) {
			a.untold++
			return
		}
		a.drop(reason(untold))
		return
	}
	for i, q := range questions {
		switch t.truth.judge(from, sent, received, q.signers, verdicts[i]) {
		case right:
		case oldAccepted:
			a.hot++
			a.problem(fmt.Sprintf("a verdict of the configuration before for a request sent after the new one was accepted, admitted: %t", verdicts[i]))
			return
		case oldLater:
			a.old++
			a.problem(fmt.Sprintf("a verdict of the configuration before, more than %s after the new one was accepted, admitted: %t", grace, verdicts[i]))
			return
		default:
			a.wrong++
			a.problem(fmt.Sprintf("an image of signers %b admitted: %t", q.signers, verdicts[i]))
			return
		}
	}
	a.right++
	a.latencies = append(a.latencies, received.Sub(sent))
	if !t.lastRight.IsZero() {
		now := t.accounts[len(t.accounts)-1]
		now.longestGap = max(now.longestGap, received.Sub(t.lastRight))
	}
	t.lastRight = received
}

// reason is what many systemErrors of a sort have in common.
func reason(untold string) string {
	const plain = "systemError"
	if kind := load.Kind(&load.Undecided{Text: untold}); kind != plain {
		return kind
	}
	text, _, _ := strings.Cut(untold, " (") // what is in brackets is the request's name
	return plain + " " + ratify.Truncate(ratify.Quote(text))
}

// decode reads whether each image is admitted, in the order of the questions; untold is a systemError. An answer that is not
// one item for each distinct key is an error.
func decode(questions []question, body []byte) (admitted []bool, untold string, err error) {
	var answer struct {
		Response struct {
			Items []struct {
				Key   string `json:"key"`
				Value struct {
					IsSuccess bool `json:"isSuccess"`
				} `json:"value"`
				Error string `json:"error"`
			} `json:"items"`
			SystemError string `json:"systemError"`
		} `json:"response"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, "", fmt.Errorf("the answer is not the protocol's: %w", err)
	}
	if answer.Response.SystemError != "" {
		return nil, answer.Response.SystemError, nil
	}
	verdicts := map[string]bool{}
	for _, item := range answer.Response.Items {
		if item.Error != "" {
			return nil, "", fmt.Errorf("an item with the error %s", item.Error)
		}
		verdicts[item.Key] = item.Value.IsSuccess
	}
	for _, q := range questions {
		verdict, ok := verdicts[q.key]
		if !ok {
			return nil, "", fmt.Errorf("no item for a key")
		}
		admitted = append(admitted, verdict)
	}
	if distinct := len(slices.Collect(maps.Keys(verdicts))); len(answer.Response.Items) != distinct {
		return nil, "", fmt.Errorf("%d items for %d keys", len(answer.Response.Items), distinct)
	}
	return admitted, "", nil
}

// ask sends one request to whichever instance the Service takes, and tells which that was.
func (g *gatekeeper) ask(ctx context.Context, keys []string) (from string, body []byte, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { from = info.Conn.RemoteAddr().String() }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://localhost"+program.VerifyPath, bytes.NewReader(load.NewRequest(keys...).Body()))
	if err != nil {
		return "", nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.Do(req)
	if err != nil {
		return from, nil, fmt.Errorf("%s", load.Kind(err))
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return from, nil, fmt.Errorf("receive: %s", load.Kind(err))
	}
	return from, body, nil
}
