package credprogram

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify/internal/keyring"
)

const (
	helperPrefix = "docker-credential-"
	// hubServer is what docker login stores Docker Hub's credentials under.
	hubServer = "https://index.docker.io/v1/"
	// tokenUser is the user name by which a helper says that its secret is an identity token.
	tokenUser = "<token>"
	// What helpers write by their protocol (docker-credential-helpers, credentials.errors): notFound is of one that has
	// nothing for a server.
	notFound   = "credentials not found in native keychain"
	noServer   = "no credentials server URL"
	noUsername = "no credentials username"
)

// A Helper is a program of docker's credential helper protocol.
type Helper struct{ program program }

// NewHelper finds a helper: by the rest of its name behind docker-credential-, on the PATH, or by an absolute path.
func NewHelper(name string, variables []Variable) (*Helper, error) {
	path := name
	if !strings.ContainsRune(name, filepath.Separator) {
		if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`).MatchString(name) {
			return nil, fmt.Errorf("%q is neither the name of a helper nor an absolute path", name)
		}
		found, err := exec.LookPath(helperPrefix + name)
		if err != nil {
			return nil, fmt.Errorf("%s%s is not on the PATH", helperPrefix, name)
		}
		path = found
	}
	p, err := newProgram("credential helper "+name, path, []string{"get"}, variables)
	if err != nil {
		return nil, err
	}
	return &Helper{program: p}, nil
}

// WithTimeout is the helper that may take another time than Timeout: where a person can be asked to unlock a keychain.
func (h *Helper) WithTimeout(d time.Duration) *Helper {
	patient := h.program
	patient.timeout = d
	return &Helper{program: patient}
}

// Path is where the program is.
func (h *Helper) Path() string { return h.program.path }

// Get asks for the credential of a registry; an empty one means that the helper has none. An error is an *Error, or the
// context's.
func (h *Helper) Get(ctx context.Context, host string) (auth.Credential, error) {
	server := host
	if keyring.HubAlias(host) == "docker.io" {
		server = hubServer
	}
	output, code, err := h.program.run(ctx, []byte(server))
	if err != nil {
		return auth.EmptyCredential, err
	}
	if code != 0 {
		return auth.EmptyCredential, h.failure(output, code)
	}
	var answer struct{ Username, Secret string }
	switch err := json.Unmarshal(output, &answer); {
	case err != nil:
		return auth.EmptyCredential, h.program.fail("gave an answer that is malformed")
	case answer.Secret == "":
		return auth.EmptyCredential, nil
	case answer.Username == tokenUser:
		return auth.Credential{RefreshToken: answer.Secret}, nil
	default:
		return auth.Credential{Username: answer.Username, Password: answer.Secret}, nil
	}
}

// failure is nil for a helper that has nothing. Of what it wrote only words that every helper has are shown: the rest may
// hold a secret.
func (h *Helper) failure(output []byte, code int) error {
	line, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	err := h.program.failed(code)
	switch line = strings.TrimSpace(line); line {
	case notFound:
		return nil
	case noServer, noUsername:
		err.Reason += ": " + line
	}
	return err
}
