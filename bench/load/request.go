package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
)

// A Request is one question to a provider, made beforehand.
type Request struct {
	Keys []string
	body []byte
}

// NewRequest asks for keys, as Gatekeeper does.
func NewRequest(keys ...string) Request {
	var envelope struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Request    struct {
			Keys []string `json:"keys"`
		} `json:"request"`
	}
	envelope.APIVersion, envelope.Kind, envelope.Request.Keys = "externaldata.gatekeeper.sh/v1beta1", "ProviderRequest", keys
	body, _ := json.Marshal(envelope) // strings alone always have a JSON form
	return Request{Keys: keys, body: body}
}

// Batches makes requests of at most size keys each, in order.
func Batches(keys []string, size int) []Request {
	var requests []Request
	for len(keys) > 0 {
		n := min(size, len(keys))
		requests = append(requests, NewRequest(keys[:n]...))
		keys = keys[n:]
	}
	return requests
}

// Body is the request as it is sent.
func (r Request) Body() []byte { return r.body }

// An answer is as much of a ProviderResponse as says whether the images are admitted.
type answer struct {
	Response struct {
		Items []struct {
			Key   string `json:"key"`
			Value struct {
				IsSuccess bool `json:"isSuccess"`
				Succeeded bool `json:"succeeded"`
			} `json:"value"`
			Error string `json:"error"`
		} `json:"items"`
		SystemError string `json:"systemError"`
	} `json:"response"`
}

// An Undecided error is a systemError: the images may be asked for again.
type Undecided struct{ Text string }

func (e *Undecided) Error() string { return "systemError: " + e.Text }

// ErrRefused is about an answer in which an image is not admitted.
var ErrRefused = errors.New("an image is refused")

// Admitted is nil if the answer has one item for each key of the request, and each admits its image. Errors are
// *Undecided, ErrRefused, or say what is wrong with the answer.
func Admitted(r Request, body []byte) error {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the answer is not the protocol's: %w", err)
	}
	if a.Response.SystemError != "" {
		return &Undecided{Text: a.Response.SystemError}
	}
	if len(a.Response.Items) != len(r.Keys) {
		return fmt.Errorf("the answer has %d items for %d keys", len(a.Response.Items), len(r.Keys))
	}
	open := make(map[string]bool, len(r.Keys))
	for _, key := range r.Keys {
		open[key] = true
	}
	for _, item := range a.Response.Items {
		if !open[item.Key] {
			return fmt.Errorf("the answer has an item for %q, which is not open", item.Key)
		}
		delete(open, item.Key)
		if item.Error != "" {
			return fmt.Errorf("%w: %s: %s", ErrRefused, item.Key, item.Error)
		}
		if !item.Value.IsSuccess && !item.Value.Succeeded {
			return fmt.Errorf("%w: %s", ErrRefused, item.Key)
		}
	}
	return nil
}

// Kind shortens an error to what many of its sort have in common, so that they can be counted: the images, the times and
// the request's name differ in each.
func Kind(err error) string {
	var undecided *Undecided
	if errors.As(err, &undecided) {
		for _, word := range strings.FieldsFunc(undecided.Text, func(r rune) bool { return r == ' ' || r == ':' || r == ',' || r == '.' }) {
			if len(word) > 3 && strings.ToUpper(word) == word && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" {
				return "systemError " + word
			}
		}
		return "systemError"
	}
	if errors.Is(err, ErrRefused) {
		return ErrRefused.Error()
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Op + ": " + network.Err.Error() // without the addresses
	}
	return err.Error()
}
