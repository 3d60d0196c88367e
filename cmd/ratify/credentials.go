package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/internal/credprogram"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/keyring"
	"github.com/ratify-provider/ratify/store/oras"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// keychainTimeout is how long a helper on a laptop may take: a person may have to unlock the keychain first.
const keychainTimeout = time.Minute

// credentialsFor is the credentials setting of a registry that a person named, from a docker configuration: the file
// itself; or, where it names a helper for the host, what the helper answers, nil where that is nothing and the file has
// nothing for the repositories either. A server never runs a helper that such a file
// names, so this is the command line's matter: on a laptop the keychain of the system has the password. Use says what
// became of the helper, nil where none was asked; Accepted is that it answered.
func credentialsFor(ctx context.Context, dockerConfig, host string, repositories []string) (settings map[string]any, use *oras.SourceUse) {
	if dockerConfig == "" {
		return nil, nil
	}
	settings = map[string]any{"dockerConfig": dockerConfig}
	name, alone := helperOf(dockerConfig, host, repositories)
	if name == "" {
		return settings, nil
	}
	use = &oras.SourceUse{Registry: host, Source: fmt.Sprintf("credential helper %s of docker config %s", plain(name), dockerConfig)}
	cred, err := askHelper(ctx, name, host)
	if alone && cred == auth.EmptyCredential {
		settings = nil // the store would say of the file that its helper is not run
	}
	switch {
	case err != nil:
		use.Use, use.Why = oras.Failed, err.Error()
	case cred == auth.EmptyCredential:
		use.Use, use.Why = oras.PassedOver, "it has no credential for this registry"
	case cred.RefreshToken != "":
		use.Use, settings = oras.Accepted, map[string]any{"identityToken": cred.RefreshToken}
	default:
		use.Use, settings = oras.Accepted, map[string]any{"username": cred.Username, "password": cred.Password}
	}
	return settings, use
}

// askHelper runs a helper as docker does, in the environment of the person.
func askHelper(ctx context.Context, name, host string) (auth.Credential, error) {
	if strings.ContainsRune(name, os.PathSeparator) {
		return auth.EmptyCredential, fmt.Errorf("%s is not the name of a helper", plain(name))
	}
	var environment []credprogram.Variable
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		environment = append(environment, credprogram.Variable{Name: name, Value: value})
	}
	helper, err := credprogram.NewHelper(name, environment)
	if err != nil {
		return auth.EmptyCredential, err
	}
	return helper.WithTimeout(keychainTimeout).Get(ctx, host)
}

// helperOf is the helper that the file names for the host, or "", and whether the file itself has nothing for the
// repositories. A file that is not as it should be has none: the registry's store reads it again, and says what is wrong.
func helperOf(dockerConfig, host string, repositories []string) (name string, alone bool) {
	var set files.Set
	data, err := set.Read(dockerConfig)
	if err != nil {
		return "", false
	}
	var file struct {
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	ring, err := keyring.Parse(data)
	if err != nil || json.Unmarshal(data, &file) != nil {
		return "", false
	}
	alone = !slices.ContainsFunc(repositories, func(repository string) bool {
		cred, _ := ring.Lookup(host, repository)
		return cred != auth.EmptyCredential
	})
	return cmp.Or(file.CredHelpers[host], file.CredHelpers[credentials.ServerAddressFromRegistry(host)], file.CredsStore), alone
}
