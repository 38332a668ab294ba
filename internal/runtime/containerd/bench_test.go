package containerd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/internal/agent"
)

// TestStartTime measures what a start costs; it holds no bound, since machines differ. IKADA_BENCH=1 runs it.
func TestStartTime(t *testing.T) {
	if os.Getenv("IKADA_BENCH") == "" {
		t.Skip("a measurement: set IKADA_BENCH=1")
	}
	in := newInstance(t, nil)
	create := func(id string) {
		c := agent.Container{ID: id, Image: in.image, Spec: command(in.subject().Sleep())}
		if err := in.runtime.Create(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	create("warm")
	var took []time.Duration
	for i := range 15 {
		began := time.Now()
		create(fmt.Sprint("one", i))
		took = append(took, time.Since(began))
		if err := in.runtime.Remove(t.Context(), fmt.Sprint("one", i)); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(took)
	t.Logf("containerd has %d KiB of PSS, the shim of one container %d KiB", pss(t, in.daemon.PID()), pss(t, shims(in.cfg)[0].pid))
	t.Logf("one after another: p50 %v, best %v, worst %v", took[len(took)/2], took[0], took[len(took)-1])
	for round := range 5 {
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() { create(fmt.Sprintf("ten%d-%d", round, i)) })
		}
		wg.Wait()
		t.Logf("ten at once: %v", time.Since(began))
		began = time.Now()
		for i := range 10 {
			wg.Go(func() {
				if err := in.runtime.Remove(t.Context(), fmt.Sprintf("ten%d-%d", round, i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		t.Logf("ten removed at once: %v", time.Since(began))
	}
}

// pss gives the memory that a process uses, with its share of what it has in common with others, in KiB.
func pss(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "Pss:"); ok {
			if _, err := fmt.Sscan(n, &kib); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kib
}
