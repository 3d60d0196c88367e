//go:build !linux

package overload

// processors cannot be divided on this system.
type processors struct{}

func splitProcessors() (*processors, error)             { return &processors{}, nil }
func (*processors) startOther(start func() error) error { return start() }
func (*processors) whole(do func() error) error         { return do() }
func (*processors) restore()                            {}
func (*processors) note() string {
	return "Processors cannot be divided on this system: the program under test shares them with whoever asks."
}
