//go:build gatekeeper317

package library

import (
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
)

// randomAnswers are fewer than for the newest version: up to 3.21 each request is a handshake of its own.
const randomAnswers = 2_000

func apply(system *mutation.System, mutable *types.Mutable) error {
	_, err := system.Mutate(mutable)
	return err
}
