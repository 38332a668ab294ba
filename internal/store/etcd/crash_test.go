package etcd_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/etcd"
)

// crashDir names the variable that makes the test binary a writer on the store in that directory.
const crashDir = "IKADA_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeUntilKilled(dir, os.Getenv(crashDir+"_RUN")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled commits pairs of keys from several goroutines and says on stdout which are acknowledged.
func writeUntilKilled(dir, run string) error {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	s, err := etcd.Open(ctx, etcd.Config{Dir: dir, Name: "n1"})
	if err != nil {
		return err
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("%s.%d.%06d", run, writer, i)
				_, err := s.Update(ctx, func(tx store.Tx) error {
					tx.Put(left(name), []byte(name))
					tx.Put(right(name), []byte(name))
					return nil
				})
				if err != nil {
					stop(err)
					return
				}
				out.Lock()
				fmt.Println(name)
				out.Unlock()
			}
		})
	}
	wg.Wait()
	return fmt.Errorf("write: %w", context.Cause(ctx))
}

func left(name string) string  { return store.Root + "crash/left/" + name }
func right(name string) string { return store.Root + "crash/right/" + name }

// TestKilledAtAnyMoment kills a writing process ten times: every acknowledged pair is there afterwards, and no half
// of one.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for run := range 10 {
		for _, name := range killedWriter(t, dir, run, rand.N(400)) {
			acknowledged[name] = true
		}
		checkPairs(t, dir, acknowledged)
	}
	t.Logf("%d transactions acknowledged", len(acknowledged))
	if len(acknowledged) == 0 {
		t.Fatal("no transaction was acknowledged: nothing is tested")
	}
}

// killedWriter runs a writer, kills it in the middle of its writing after a number of acknowledgements, and gives
// all that it made.
func killedWriter(t *testing.T, dir string, run, after int) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s_RUN=%d", crashDir, run))
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	lines := bufio.NewReader(stdout)
	for {
		if len(names) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what is after the last newline was not said to its end
		}
		names = append(names, strings.TrimSpace(line))
	}
	_ = cmd.Wait() // it was killed
	if len(names) < after {
		t.Fatalf("run %d: the writer ended by itself after %d of %d", run, len(names), after)
	}
	return names
}

func checkPairs(t *testing.T, dir string, acknowledged map[string]bool) {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.View(t.Context(), func(tx store.Tx) error {
		lefts, err := tx.List(left(""))
		if err != nil {
			return err
		}
		rights, err := tx.List(right(""))
		if err != nil {
			return err
		}
		if len(lefts) != len(rights) {
			t.Errorf("%d left halves, %d right ones", len(lefts), len(rights))
		}
		found := map[string]bool{}
		for _, e := range lefts {
			found[string(e.Value)] = true
		}
		for name := range acknowledged {
			if !found[name] {
				t.Errorf("%s was acknowledged and is lost", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
