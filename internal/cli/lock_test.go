package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func TestSpan(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "2h": 2 * time.Hour, "30d": 30 * day, "1w": 7 * day, "1w2d3h": 9*day + 3*time.Hour, "0": 0, "0d": 0,
	} {
		var s span
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%q: %s, %v", text, time.Duration(s), err)
		}
	}
	for _, text := range []string{"", "5", "d", "-1h", "1d-1h", "1x", "99999999d", "9999999999w", "1d2w", "1h1d"} {
		var s span
		if err := s.Set(text); err == nil {
			t.Errorf("%q: %s", text, time.Duration(s))
		}
	}
}

// lockServer is a fake that gives out a session's lock.
func lockServer(t *testing.T, renew func() *api.Error) (f *fake, released *atomic.Int32) {
	f = newFake(t)
	lock := api.Lock{EnvRef: shop, ID: "abc", Holder: "ann", Session: true}
	released = &atomic.Int32{}
	f.on("PUT /apps/shop/envs/production/lock", lock)
	f.mux.HandleFunc("POST "+client.Prefix+"/apps/shop/envs/production/lock/renew", func(w http.ResponseWriter, _ *http.Request) {
		if err := renew(); err != nil {
			w.WriteHeader(http.StatusConflict)
			answer(w, err)
			return
		}
		answer(w, lock)
	})
	f.mux.HandleFunc("DELETE "+client.Prefix+"/apps/shop/envs/production/lock", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("id") == "abc" {
			released.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return f, released
}

func TestLockWhile(t *testing.T) {
	f, released := lockServer(t, func() *api.Error { return nil })
	dir := directory(t, "elsewhere", nil)
	out := filepath.Join(dir, "out")
	script := `echo "$IKADA_LOCK $IKADA_HOST $IKADA_APP $IKADA_ENV $1 $2" >` + out + `; exit 7`
	// What follows --while is the command's, flags too.
	r := f.ikada(t.Context(), dir, "", "lock", "shop/production", "--why", "a release", "--while", "sh", "-c", script, "-", "--force", "-e")
	if r.code != 7 || r.out != "" || r.err != "" {
		t.Errorf("exit %d, stdout %q, stderr %q; expected the command's own", r.code, r.out, r.err)
	}
	if text, err := os.ReadFile(out); err != nil || strings.TrimSpace(string(text)) != "shop/production/abc "+f.url+" shop production --force -e" {
		t.Errorf("the command saw %q, %v", text, err)
	}
	if released.Load() != 1 {
		t.Errorf("the lock was given back %d times", released.Load())
	}
	asked := f.requests()
	if len(asked) != 1 || !strings.Contains(asked[0], `"session":true`) || !strings.Contains(asked[0], `"why":"a release"`) || strings.Contains(asked[0], "force") {
		t.Errorf("asked for %v", asked)
	}
	for _, args := range [][]string{{"lock", "--while"}, {"lock", "a", "b", "--while", "true"}, {"lock", "a", "b"}, {"lock", "--for", "x"}, {"unlock", "a", "b"}} {
		if r := f.ikada(t.Context(), dir, "", args...); r.code != ExitUsage {
			t.Errorf("%v: exit %d, %s", args, r.code, r.err)
		}
	}
}

// A command whose lock is lost is told to end.
func TestLockWhileLost(t *testing.T) {
	f, _ := lockServer(t, func() *api.Error {
		return &api.Error{Kind: api.Conflict, Message: "the lock of shop/production is lost"}
	})
	began := time.Now()
	r := f.ikada(t.Context(), directory(t, "elsewhere", nil), "", "lock", "shop/production", "--while", "sleep", "60")
	if r.code != ExitError || !strings.Contains(r.err, "is lost; sleep was told to end") {
		t.Errorf("exit %d, stderr %q", r.code, r.err)
	}
	if took := time.Since(began); took > 50*time.Second {
		t.Errorf("it went on for %s", took)
	}
}

func TestLockWaits(t *testing.T) {
	f := newFake(t)
	var asked atomic.Int32
	f.mux.HandleFunc("PUT "+client.Prefix+"/apps/shop/envs/production/lock", func(w http.ResponseWriter, r *http.Request) {
		var req api.LockRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.For.Std() != 48*time.Hour {
			t.Errorf("%+v, %v", req, err)
		}
		if asked.Add(1) < 2 {
			w.WriteHeader(http.StatusConflict)
			answer(w, api.Error{Kind: api.Conflict, Message: "shop/production is locked by bob"})
			return
		}
		answer(w, api.Lock{EnvRef: shop, Holder: "ann", Why: "to \x1b[2Jtest", ExpiresAt: noon.Add(48 * time.Hour)})
	})
	dir := directory(t, "elsewhere", nil)
	if r := f.ikada(t.Context(), dir, "", "lock", "shop/production", "--for", "2d"); r.code != ExitError || !strings.Contains(r.err, "locked by bob") {
		t.Errorf("exit %d, %s", r.code, r.err)
	}
	asked.Store(0)
	r := f.ikada(t.Context(), dir, "", "lock", "-a", "shop", "--for", "2d", "--wait", "30s")
	if r.code != 0 || asked.Load() != 2 || strings.Contains(r.out, "\x1b") || !strings.Contains(r.out, "shop/production is locked by ann until 2026-11-24 12:00:00 (2d)") {
		t.Errorf("exit %d after %d attempts: %q", r.code, asked.Load(), r.out)
	}
}
