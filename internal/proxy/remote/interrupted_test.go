package remote

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestReplacementCutOff has ikada die at each step of replacing the balancer; the next one goes on, and no request fails.
func TestReplacementCutOff(t *testing.T) {
	aside := func(t *testing.T, n *node) string {
		old := n.aside(n.PID())
		if err := n.putAside(old); err != nil {
			t.Fatal(err)
		}
		return old
	}
	successor := func(t *testing.T, n *node) *peer { // as Spawn does
		n.current = newPeer(n.cfg.Socket)
		if err := n.supervisor.Spawn(t.Context()); err != nil {
			t.Fatal(err)
		}
		return n.current
	}
	for name, cut := range map[string]func(*testing.T, *node){
		"one socket put aside": func(t *testing.T, n *node) {
			if err := os.Rename(n.cfg.Socket, n.aside(n.PID())); err != nil {
				t.Fatal(err)
			}
		},
		"put aside":      func(t *testing.T, n *node) { aside(t, n) },
		"successor runs": func(t *testing.T, n *node) { aside(t, n); successor(t, n) },
		"successor serves": func(t *testing.T, n *node) {
			old := aside(t, n)
			p := successor(t, n)
			files, err := fetchListeners(t.Context(), old)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(files)
			if err := giveListeners(t.Context(), n.cfg.Socket, files); err != nil {
				t.Fatal(err)
			}
			if _, err := p.table(t.Context(), n.table); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, port := shortDir(t), freePort(t)
			a := map[string]*httptest.Server{"a": backend(t, "a")}
			one := start(t, dir, "1")
			one.Apply(table(1, port, a))
			pid := one.PID()
			l := newLoad(port)
			one.end()
			closeAll(one.held) // as its death does
			clear(one.held)
			cut(t, one)
			two := start(t, dir, "2")
			two.Apply(table(2, port, a))
			if st := two.Status(); two.PID() == pid || len(st.Problem) > 0 || st.Version != 2 {
				t.Errorf("process %d after %d: %+v", two.PID(), pid, st)
			}
			until(t, "the end of replaced processes", func() bool {
				left, _ := filepath.Glob(filepath.Join(dir, "p.sock.old-*"))
				return len(left) == 0
			})
			if got, err := get(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, port, ""); got != "a" {
				t.Errorf("%q, %v", got, err)
			}
			if sent, failed := l.end(); failed != 0 {
				t.Errorf("%d of %d requests failed: %v", failed, sent, l.first)
			}
		})
	}
}

// TestReplacementThatDoesNotStart keeps the process that serves when its successor cannot be started.
func TestReplacementThatDoesNotStart(t *testing.T) {
	dir, port := shortDir(t), freePort(t)
	one := start(t, dir, "1")
	one.Apply(table(1, port, map[string]*httptest.Server{"a": backend(t, "a")}))
	pid := one.PID()
	one.end()
	broken, err := New(Config{Socket: one.cfg.Socket, Version: "2"}, dir, []string{"/bin/false"}, one.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	broken.Apply(table(2, port, map[string]*httptest.Server{"b": backend(t, "b")}))
	if got, err := get(&http.Client{}, port, ""); got != "b" || broken.PID() != pid {
		t.Errorf("%q, %v from process %d, expected b from %d", got, err, broken.PID(), pid)
	}
	if three := start(t, dir, "1"); three.PID() != pid {
		t.Errorf("process %d was replaced by %d", pid, three.PID())
	}
}
