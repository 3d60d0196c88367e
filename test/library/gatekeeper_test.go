//go:build !gatekeeper317

package library

import (
	"context"

	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
)

// randomAnswers is how many random answers the template is asked about: at a millisecond each they stay below 40 s.
const randomAnswers = 20_000

func apply(system *mutation.System, mutable *types.Mutable) error {
	_, err := system.Mutate(context.Background(), mutable)
	return err
}
