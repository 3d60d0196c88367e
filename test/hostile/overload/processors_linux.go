package overload

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processors are divided between the program under test, which has the last one for itself, and whoever asks and the
// registry, which are this process and have the others. Without that, asking for three times what can be done would take
// the processor from the one who is asked.
type processors struct {
	before, ours, other unix.CPUSet
	apart               bool
}

// splitProcessors gives this process all processors but one.
func splitProcessors() (*processors, error) {
	p := &processors{}
	if err := unix.SchedGetaffinity(0, &p.before); err != nil {
		return nil, fmt.Errorf("read which processors there are: %w", err)
	}
	if p.before.Count() < 2 {
		return p, nil
	}
	p.ours, p.apart = p.before, true
	for i := len(p.before)*strconv.IntSize - 1; i >= 0; i-- {
		if p.before.IsSet(i) {
			p.ours.Clear(i)
			p.other.Set(i)
			break
		}
	}
	return p, p.move(&p.ours)
}

// startOther has start start a process on the processor that is set apart: a child has the processors of the thread that
// starts it.
func (p *processors) startOther(start func() error) error {
	if !p.apart {
		return start()
	}
	return errors.Join(p.move(&p.other), start(), p.move(&p.ours))
}

// whole does something with all processors, while nobody is asked.
func (p *processors) whole(do func() error) error {
	if !p.apart {
		return do()
	}
	return errors.Join(p.move(&p.before), do(), p.move(&p.ours))
}

// restore undoes the division.
func (p *processors) restore() {
	if p.apart {
		_ = p.move(&p.before) // what is narrowed stays correct, and slower
	}
}

func (p *processors) note() string {
	if !p.apart {
		return "There is one processor: the program under test shares it with whoever asks, so that the times are of both."
	}
	return "The program under test has one processor for itself; whoever asks and the registry have the others."
}

// move moves all threads of this process. A thread that begins meanwhile has the processors of the one that it comes from,
// so that two rounds without a new one have moved all.
func (p *processors) move(to *unix.CPUSet) error {
	moved := map[int]bool{}
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil || moved[id] {
				continue
			}
			if err := unix.SchedSetaffinity(id, to); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move thread %d: %w", id, err)
			}
			moved[id], again = true, true
		}
	}
	return nil
}
