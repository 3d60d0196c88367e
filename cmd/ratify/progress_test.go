package main

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ratify-provider/ratify"
)

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, stderr := testApp(t)
		a.ui.progress = true
		line := a.startProgress("verifying 2 images")
		ratify.Progress(line.context(t.Context()), "listing the image's referrers")

		time.Sleep(progressDelay - time.Millisecond)
		synctest.Wait()
		if got := stderr.take(); got != "" {
			t.Errorf("before a second it says %q", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got, want := stderr.take(), eraseLine+"verifying 2 images: listing the image's referrers (1s)"; got != want {
			t.Errorf("after a second %q, want %q", got, want)
		}
		line.print(func() { fmt.Fprint(stderr, "result\n") })
		if got, want := stderr.take(), eraseLine+"result\n"; got != want {
			t.Errorf("around a result %q, want %q", got, want)
		}
		line.say("verifying 2 images, 1 done")
		time.Sleep(2 * progressInterval)
		synctest.Wait()
		if got, want := stderr.take(), eraseLine+"verifying 2 images, 1 done: listing the image's referrers (1s)"+
			eraseLine+"verifying 2 images, 1 done: listing the image's referrers (2s)"; got != want {
			t.Errorf("later %q, want %q", got, want)
		}
		line.close()
		if got := stderr.take(); got != eraseLine {
			t.Errorf("at the end %q, want %q", got, eraseLine)
		}
	})
}

func TestNoProgressWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, stderr := testApp(t)
		line := a.startProgress("verifying")
		ratify.Progress(line.context(t.Context()), "waiting")
		time.Sleep(time.Hour)
		line.print(func() {})
		line.close()
		if got := stderr.String(); got != "" {
			t.Errorf("it says %q", got)
		}
	})
}
