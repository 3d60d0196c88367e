package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ratify-provider/ratify/internal/files"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// credentialsFor is the credentials setting of a registry that a person named, from a docker configuration: the file
// itself; or, where it names a helper for the host, what the helper answers. A server never runs a helper, so this is
// the command line's matter: on a laptop the keychain of the system has the password.
func credentialsFor(ctx context.Context, dockerConfig, host string) (map[string]any, error) {
	if dockerConfig == "" {
		return nil, nil
	}
	fromFile := map[string]any{"dockerConfig": dockerConfig}
	if !hasHelper(dockerConfig, host) {
		return fromFile, nil
	}
	store, err := credentials.NewStore(dockerConfig, credentials.StoreOptions{})
	if err != nil {
		return fromFile, nil // the registry's store reads it again, and says what is wrong
	}
	cred, err := store.Get(ctx, credentials.ServerAddressFromRegistry(host))
	switch {
	case err != nil:
		return fromFile, fmt.Errorf("the credential helper for %s in %s gave nothing, so the registry is asked without credentials: %s", host, dockerConfig, plain(err.Error()))
	case cred == auth.EmptyCredential:
		return fromFile, nil
	case cred.RefreshToken != "":
		return map[string]any{"identityToken": cred.RefreshToken}, nil
	default:
		return map[string]any{"username": cred.Username, "password": cred.Password}, nil
	}
}

// hasHelper tells whether the file names a helper for the host. A file that is not as it should be has none.
func hasHelper(dockerConfig, host string) bool {
	var set files.Set
	data, err := set.Read(dockerConfig)
	if err != nil {
		return false
	}
	var file struct {
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if json.Unmarshal(data, &file) != nil {
		return false
	}
	return file.CredsStore != "" || file.CredHelpers[host] != "" || file.CredHelpers[credentials.ServerAddressFromRegistry(host)] != ""
}
